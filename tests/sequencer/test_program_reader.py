"""The reader passes every instruction once, in order, in legal bursts, and stops where it must."""

import random

import pytest

from hw.sequencer.program_reader import ProgramReader
from hw.spec.isa import OPERANDS, Engine, Fault, Op, encode, engine_of
from hw.spec.vector import opcodes
from tests.support.streams import simulate

BASE = 0x1000_0FA0  # a page boundary is near


def _read(program, *, word_bits, burst, seed=0, **more):
    """(words written per index, stops as (index, halt, sync, fault))"""
    dut, rng = ProgramReader(word_bits=word_bits, burst=burst, **more), random.Random(seed)
    size, code = word_bits // 8, b"".join(program)
    writes, stops = [], []

    async def bench(ctx):
        reads = []
        ctx.set(dut.base, BASE // 32)
        ctx.set(dut.length, len(program))
        ctx.set(dut.go, 1)
        for cycle in range(1500):
            ctx.set(dut.start, cycle == 0)
            ctx.set(dut.room, rng.random() < 0.3)
            accept = rng.random() < 0.5
            ctx.set(dut.bus.ar.ready, accept)
            beat = bool(reads) and rng.random() < 0.6
            ctx.set(dut.bus.r.valid, beat)
            if beat:
                at = reads.pop(0)
                word = int.from_bytes(code[at - BASE : at - BASE + size], "little")
                ctx.set(dut.bus.r.p, {"data": word, "last": not reads, "error": 0, "id": 0})
            resume = int(ctx.get(dut.stopped)) and int(ctx.get(dut.idle)) and cycle > 1
            if resume:
                names = (dut.index, dut.at_halt, dut.at_sync, dut.fault)
                stops.append(tuple(int(ctx.get(name)) for name in names))
                if not stops[-1][2]:
                    return
            ctx.set(dut.resume, resume)
            _, _, valid, ar, write = await ctx.tick().sample(dut.bus.ar.valid, dut.bus.ar.p, dut.write)
            if valid and accept:
                first, beats = int(ar.address), int(ar.last) + 1
                assert first // 4096 == (first + beats * size - 1) // 4096
                assert first + beats * size <= BASE + len(code)
                reads = [first + n * size for n in range(beats)]
            if write.valid:
                last = int(write.last)
                writes.append((int(write.index), int(write.beat), last, int(write.engine), int(write.data)))

    simulate(dut, bench)
    return writes, stops


@pytest.mark.parametrize(("word_bits", "burst"), [(64, 1), (128, 4), (256, 4)])
@pytest.mark.parametrize("end", ["halt", "illegal", "nothing"])
def test_programs(word_bits, burst, end):
    rng = random.Random(word_bits)
    ops = [rng.choice((Op.FETCH, Op.MATMUL, Op.ADD, Op.STORE, Op.SYNC)) for _ in range(25)]
    program = [op.to_bytes(1, "little") + rng.randbytes(31) for op in ops]
    program = [bytes([code[0] | code[1] & 0xE0]) + code[1:] for code in program]
    tail = {"halt": [encode(Op.HALT)], "illegal": [bytes(32)], "nothing": []}[end]
    after = [encode(Op.ADD, **dict.fromkeys((field.name for field in OPERANDS[Op.ADD]), 1))] * 5 if tail else []
    writes, stops = _read([*program, *tail, *after], word_bits=word_bits, burst=burst)
    beats = 256 // word_bits
    expected = []
    for index, (op, code) in enumerate(zip(ops, program, strict=True)):
        for beat in range(beats):
            word = int.from_bytes(code, "little") >> beat * word_bits & (1 << word_bits) - 1
            if engine_of(op) is not None:
                expected.append((index, beat, int(beat == beats - 1), int(engine_of(op)), word))
    assert [write for write in writes if write[3] < len(Engine)] == expected
    assert not any(write[2] for write in writes if write[3] >= len(Engine))
    syncs = [(index + 1, 0, 1) for index, op in enumerate(ops) if op is Op.SYNC]
    assert [stop[:3] for stop in stops[:-1]] == syncs
    index, halt, _, fault = stops[-1]
    assert (index, halt) == (25, int(end == "halt"))
    assert end == "halt" or fault == {"illegal": Fault.ILLEGAL_OPCODE, "nothing": Fault.PROGRAM_END}[end]


RIVALS = {
    "ROW_MEAN", "L1_DEVIATION", "INT_DEVIATION", "INT_SOFTMAX_SUM", "INT_SOFTMAX", "INT_GELU", "LOG_SOFTMAX_SUM",
    "LOG_SOFTMAX", "POWER_FACTORS",
}  # fmt: skip


def test_opcodes_of_units_that_are_not_built_are_illegal():
    """They stop the reading as any other number that is no opcode."""
    built = opcodes(("shiftmax", "add"))
    for op in Op:
        code = bytes([int(op)]) + bytes(31)
        _, stops = _read([code, encode(Op.HALT)], word_bits=128, burst=1, ops=built)
        illegal = stops[0] == (0, 0, 0, Fault.ILLEGAL_OPCODE)
        assert illegal == (op.name in {"MOMENTS", "LAYER_NORM", "SHIFT_GELU", "TABLE", *RIVALS}), op

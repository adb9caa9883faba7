# amaranth: UnusedElaboratable=no
"""The VECTOR engine against the laws: random programs, faults, cycle counts."""

import json

import numpy as np
import pytest
from amaranth.hdl import Signal

from hw.spec.config import Config
from hw.spec.isa import OPCODE_BITS, OPERAND_BITS, Fault, Op, encode
from hw.vector.engine import VectorEngine
from sim.machine import Machine
from tests.support.cocotb import run_bench
from tests.support.streams import PRESSURES, reset_and_silent, simulate
from tests.support.vector_driver import FIRST_INDEX, run_program
from tests.support.vector_reference import Program, operand_bits, random_program

WORDS = 512
EVERYTHING = ["softmax", "norm", "gelu", "add", "biased", "table"]


def engine(*, rows=8, lanes=2, scratch_words=WORDS, scratch_latency=2, **more):
    return VectorEngine(
        rows=rows,
        lanes=lanes,
        tokens=16,
        row_max_banks=2,
        stat_banks=2,
        max_row=1024,
        scratch_words=scratch_words,
        scratch_latency=scratch_latency,
        **more,
    )


def check(run, program):
    assert run.fault is None
    assert len(run.retired) == len(program.instructions) == len(run.started)
    wrong = np.argwhere(run.memory != program.after)
    assert wrong.size == 0, f"{len(wrong)} bytes differ, first at (word, byte) {wrong[:4].tolist()}"


@pytest.mark.parametrize("stall", PRESSURES)
@pytest.mark.parametrize(("rows", "lanes", "latency"), [(8, 2, 2), (8, 1, 1), (16, 4, 3)])
def test_random_programs(rows, lanes, latency, stall):
    calls = EVERYTHING
    program = random_program(10 * rows + lanes, calls, rows=rows, words=WORDS, max_rows=5, max_length=45)
    dut = engine(rows=rows, lanes=lanes, scratch_latency=latency)
    check(run_program(dut, program, stall=stall, seed=lanes), program)


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_additions_take_all_lanes(lanes):
    calls = [("add", {"shape": (12, 64), "wide": (1, 1, 1)}), ("biased", {"shape": (12, 64), "planes": 0})]
    program = random_program(21, calls, rows=16, words=WORDS, max_rows=16, max_length=64)
    run = run_program(engine(rows=16, lanes=lanes), program)
    check(run, program)
    for (op, operands, _), start, end in zip(program.instructions, run.started, run.retired, strict=True):
        if op in (Op.ADD, Op.ADD_MAX):
            beats = operands["rows"] * operands["length"] // lanes
            assert beats < end - start <= beats + 64


@pytest.mark.parametrize(("units", "calls"), [
    (("layer_norm", "shift_gelu", "add"), ["norm", "gelu", "add"]),
    (("shiftmax", "layer_norm", "add"), ["softmax", "norm", "add", "biased"]),
    (("shiftmax", "shift_gelu", "add"), ["softmax", "gelu", "add", "biased"]),
    (("shiftmax", "layer_norm", "shift_gelu"), ["softmax", "norm", "gelu"]),
    *(((unit,), [call]) for unit, call in
      (("shiftmax", "softmax"), ("layer_norm", "norm"), ("shift_gelu", "gelu"), ("add", "add"))),
])  # fmt: skip
def test_engines_without_some_units(units, calls):
    program = random_program(14, calls, rows=8, words=WORDS, max_rows=5, max_length=30)
    check(run_program(engine(vector=units), program, stall=0.3), program)


@pytest.mark.parametrize("name", EVERYTHING)
def test_smallest_and_fullest_rows(name):
    calls = [(name, {"shape": shape}) for shape in ((1, 1), (2, 8), (3, 9), (16, 3), (1, 16))]
    program = random_program(3, calls, rows=8, words=WORDS, max_rows=16, max_length=64)
    check(run_program(engine(), program), program)


@pytest.mark.parametrize("planes", [0, 1])
@pytest.mark.parametrize(("wide_source", "wide_dest"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_layer_norm_widths(wide_source, wide_dest, planes):
    widths = {"wide_source": wide_source, "wide_dest": wide_dest, "planes": planes}
    calls = [("norm", {"shape": (3, length), **widths}) for length in (8, 23)]
    program = random_program(4, calls, rows=8, words=WORDS, max_rows=16, max_length=64)
    check(run_program(engine(), program, stall=0.3), program)


@pytest.mark.parametrize("name", ["norm", "gelu", "table", "softmax"])
@pytest.mark.parametrize(("lanes", "length"), [(1, 1), (2, 4), (4, 8), (4, 27)])
def test_planes(name, lanes, length):
    calls = [(name, {"shape": (rows, length), "planes": planes}) for rows in (1, 4, 5) for planes in (1, 0, 1)]
    program = random_program(6, calls, rows=8, words=WORDS, max_rows=16, max_length=64)
    for stall in PRESSURES:
        check(run_program(engine(lanes=lanes), program, stall=stall), program)


@pytest.mark.parametrize("wide", [(0, 0, 0), (0, 1, 0), (1, 0, 1), (1, 1, 1), (1, 1, 0), (0, 0, 1)])
def test_add_widths(wide):
    program = random_program(5, [("add", {"shape": (3, 19), "wide": wide})], rows=8, words=WORDS, max_rows=16,
                             max_length=64)  # fmt: skip
    check(run_program(engine(), program, stall=0.3), program)


BUILT = {"rows": 16, "lanes": 2, "tokens": 64, "row_max_banks": 8, "stat_banks": 4, "max_row": 4096}
RATES = {Op.ADD: 0.95, Op.ADD_MAX: 0.95}  # least elements per cycle, from start to retirement; of others 1.9
LONG = [
    ("softmax", {"shape": (24, 200), "planes": 1}),
    ("norm", {"shape": (20, 768), "wide_source": 1, "wide_dest": 0, "planes": 0}),
    ("norm", {"shape": (20, 768), "wide_source": 1, "wide_dest": 0, "planes": 1}),
    ("gelu", {"shape": (24, 768), "planes": 0}),
    ("gelu", {"shape": (24, 768), "planes": 1}),
    ("add", {"shape": (16, 192), "wide": (1, 1, 1)}),
    ("norm", {"shape": (20, 768), "wide_source": 0, "wide_dest": 1, "planes": 0}),
    ("softmax", {"shape": (24, 200), "planes": 0}),
    ("biased", {"shape": (24, 200), "planes": 0}),
    ("table", {"shape": (24, 768)}),
    ("table", {"shape": (24, 768), "planes": 1}),
]


def run_compiled(program, folder, *, stall):
    """`program` on the compiled Verilog of the default sizes: (scratchpad, report)."""
    words, latency = len(program.before), 2
    instructions = []
    for number, (op, operands, row_max) in enumerate(program.instructions):
        issue = int(op) | operand_bits(op, operands) << OPCODE_BITS | number << (OPCODE_BITS + OPERAND_BITS)
        bank = operands.get("row_max", 0)
        instructions.append({"issue": f"{issue:x}", "row_max_bank": bank, "row_max": row_max.tolist()})
    setting = {"word_bytes": BUILT["rows"], "latency": latency, "tokens": BUILT["tokens"], "stall": stall}
    files = {name: str(folder / name.lower()) for name in ("PROGRAM", "REPORT")}
    files |= {name: str(folder / f"{name.lower()}.npy") for name in ("BEFORE", "AFTER")}
    (folder / "program").write_text(json.dumps(setting | {"instructions": instructions}))
    np.save(files["BEFORE"], program.before)
    dut = VectorEngine(**BUILT, scratch_words=words, scratch_latency=latency)
    assert run_bench(dut, "sim.bench.vector", name="vector", env=files) == 1
    return np.load(files["AFTER"]), json.loads((folder / "report").read_text())


def test_elements_per_cycle(tmp_path):
    program = random_program(11, LONG, rows=16, words=8192, max_rows=64, max_length=768)
    memory, report = run_compiled(program, tmp_path, stall=0.0)
    assert (memory == program.after).all()
    for (op, operands, _), start, end in zip(program.instructions, report["started"], report["retired"], strict=True):
        cycles = end - start + 1
        elements = operands["rows"] * operands["length"]
        assert elements / cycles >= RATES.get(op, 1.9), f"{op.name}: {elements} elements in {cycles} cycles"


def test_real_sizes_under_stalls(tmp_path):
    program = random_program(12, EVERYTHING * 4, rows=16, words=8192, max_rows=24, max_length=200)
    memory, _ = run_compiled(program, tmp_path, stall=0.4)
    wrong = np.argwhere(memory != program.after)
    assert wrong.size == 0, f"{len(wrong)} bytes differ, first at (word, byte) {wrong[:4].tolist()}"


def test_next_instruction_starts_at_once():
    program = random_program(7, ["add", "gelu", "add"], rows=8, words=WORDS, max_rows=3, max_length=20)
    run = run_program(engine(), program)
    assert [later - earlier for later, earlier in zip(run.started[1:], run.retired, strict=False)] == [1, 1]


def test_every_cycle_of_an_instruction_is_told():
    """Between its start and its retirement it is busy or waits; at no other time."""
    program = random_program(8, ["add", "norm"], rows=8, words=WORDS, max_rows=3, max_length=20)
    run = run_program(engine(), program, stall=0.3)
    told = [cycle for cycle, (busy, waits) in enumerate(zip(run.busy, run.waits, strict=True)) if busy or any(waits)]
    assert told == [
        cycle for pair in zip(run.started, run.retired, strict=True) for cycle in range(pair[0] + 1, pair[1])
    ]


ADD = {"rows": 2, "length": 16, "source": 0, "source_row": 2, "identity": 8, "identity_row": 2, "dest": 20,
       "dest_row": 2}  # fmt: skip


@pytest.mark.parametrize("cycles", [1, 2, 3, 7])
def test_a_reset_ends_what_has_begun(cycles):
    """So many cycles after an instruction was offered: nothing is read or written any more."""
    dut, reset = engine(), Signal()

    async def bench(ctx):
        ctx.set(dut.issue.payload, {"op": int(Op.ADD), "operands": operand_bits(Op.ADD, ADD), "index": 1})
        ctx.set(dut.issue.valid, 1)
        for _ in range(cycles):
            assert ctx.get(dut.issue.ready) or not ctx.get(dut.issue.valid)
            await ctx.tick()
            ctx.set(dut.issue.valid, 0)
        accesses = (dut.scratch_read.request.valid, dut.scratch_write.request.valid)
        activity = (dut.started, dut.retired, dut.busy, dut.wait_in, dut.wait_out, dut.fault.any())
        await reset_and_silent(ctx, reset, 60, *activity, *accesses)

    simulate(dut, bench, reset=reset)


def test_a_halted_engine_takes_nothing():
    dut = engine()

    async def bench(ctx):
        ctx.set(dut.halt, 1)
        ctx.set(dut.issue.payload, {"op": int(Op.ADD), "operands": operand_bits(Op.ADD, ADD), "index": 1})
        ctx.set(dut.issue.valid, 1)
        for _ in range(20):
            for signal in (dut.issue.ready, dut.started, dut.retired, dut.busy):
                assert not ctx.get(signal)
            await ctx.tick()

    simulate(dut, bench)


def faulty(op, word_bytes=8, **operands):
    """A program of one fine instruction and one that faults."""
    fine = random_program(8, ["add"], rows=word_bytes, words=WORDS, max_rows=2, max_length=10)
    common = {"rows": 2, "length": 16, "source": 0, "source_row": 2}
    instructions = [*fine.instructions, (op, common | operands, np.zeros(16, np.int64))]
    return Program(instructions, fine.before, fine.after)


@pytest.mark.parametrize(("code", "op", "operands"), [
    (Fault.ILLEGAL_OPERAND, Op.ADD, {"rows": 17}),
    (Fault.ILLEGAL_OPERAND, Op.MOMENTS, {"length": 1025}),
    (Fault.ILLEGAL_OPERAND, Op.SHIFT_GELU, {"i0": 0}),
    (Fault.ILLEGAL_OPERAND, Op.SHIFTMAX, {"i0": 3, "row_max": 2}),
    (Fault.ILLEGAL_OPERAND, Op.LAYER_NORM, {"stats": 2}),
    (Fault.ILLEGAL_OPERAND, Op.ADD_MAX, {"stats": 2}),
    (Fault.SCRATCH_ADDRESS, Op.ADD, {"source": WORDS}),
    (Fault.SCRATCH_ADDRESS, Op.ADD, {"identity": WORDS - 1}),
    (Fault.SCRATCH_ADDRESS, Op.LAYER_NORM, {"params": WORDS - 31}),
    (Fault.SCRATCH_ADDRESS, Op.TABLE, {"params": WORDS - 63}),
    (Fault.SCRATCH_ADDRESS, Op.SHIFT_GELU, {"i0": 9, "dest": 65535}),
    (Fault.SCRATCH_ADDRESS, Op.SHIFTMAX_SUM, {"i0": 9, "source": WORDS - 2}),
])  # fmt: skip
def test_faults(code, op, operands):
    program = faulty(op, **operands)
    run = run_program(engine(), program)
    assert run.fault is not None
    assert run.fault[:2] == (code, FIRST_INDEX + 1)
    assert run.accesses_after_halt == 0
    assert len(run.retired) == 1
    assert (run.memory == program.after).all(), "only the instruction before may have written"


@pytest.mark.parametrize(("word_bytes", "words"), [(8, 32), (16, 16), (32, 16)])
def test_norm_parameters_at_the_end_of_the_scratchpad(word_bytes, words):
    """16 entries of 16 bytes, or of a word if that has more, are read, and nothing behind them."""
    for params, fault in ((WORDS - words, None), (WORDS - words + 1, (Fault.SCRATCH_ADDRESS, FIRST_INDEX + 1))):
        program = faulty(Op.LAYER_NORM, word_bytes, params=params, dest=100)
        run = run_program(engine(rows=word_bytes), program)
        assert (run.fault and run.fault[:2]) == fault
        assert len(run.retired) == 1 + (fault is None)


def test_second_plane_outside():
    program = faulty(Op.SHIFTMAX, i0=9, dest=WORDS - 1, rows=1, length=8, planes=1, dest_plane=1)
    run = run_program(engine(), program)
    assert run.fault[:2] == (Fault.SCRATCH_ADDRESS, FIRST_INDEX + 1)
    changed = np.argwhere((run.memory != program.after).any(axis=1)).ravel()
    assert set(changed) <= {WORDS - 1}


def test_the_reference_is_the_machine_model():
    program = random_program(13, EVERYTHING * 3, rows=16, words=8192, max_rows=24, max_length=200)
    machine = Machine(Config(), {})
    machine.scratch[:] = program.before
    for op, operands, row_max in program.instructions:
        machine.row_max[operands.get("row_max", 0), : len(row_max)] = row_max
        machine.run(encode(op, **operands) + encode(Op.HALT))
    assert (machine.scratch == program.after).all()


def test_refuses_lanes_that_no_word_fills():
    with pytest.raises(ValueError, match="lanes must be at most half the 8 bytes of a word, not 8"):
        engine(lanes=8)

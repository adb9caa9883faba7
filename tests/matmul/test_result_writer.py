"""Results land in their bytes and nowhere else, with a write per word; every small alignment is tried."""

import random
from itertools import product

import pytest
from amaranth.hdl import Signal

from hw.matmul.result_writer import ResultWriter
from hw.spec.isa import TOGETHER, Kind
from tests.support.streams import PRESSURES, simulate

ROWS, WORDS = 8, 64
ALL = (1 << TOGETHER) - 1


def items_of(o, lanes, cols, values):
    """The drain's items of an instruction, tile by tile."""
    bits = Kind(o["kind"]).bits
    for first in range(0, o["outputs"], cols):
        count = min(cols, o["outputs"] - first)
        for token in range(o["rows"]):
            for k in range(0, count, lanes):
                part = [values[token][first + j] for j in range(k, min(k + lanes, count))]
                ends = k + lanes >= count
                last = token == o["rows"] - 1
                padded = part + [-1] * (lanes - len(part))
                yield {
                    "values": [x if x < 1 << (bits - 1) else x - (1 << bits) for x in padded],
                    "keep": (1 << len(part)) - 1, "token_end": ends, "last_token": last,
                    "end": ends and last and first + count == o["outputs"],
                    "bytes": o.get("bytes", [ALL])[token % len(o.get("bytes", [ALL]))],
                }  # fmt: skip


def run(instructions, *, lanes, cols, pressure=0.0, seed=0, words=WORDS, until=None):
    """Bytes written {address: byte}, the writes granted, and cycles; compares retirements on the way."""
    rng = random.Random(seed)
    dut = ResultWriter(rows=ROWS, words=words, lanes=lanes)
    memory, expected, items, writes, faults = {}, {}, [], [], []
    for o in instructions:
        kind = Kind(o["kind"])
        values = [[rng.getrandbits(kind.bits) for _ in range(o["outputs"])] for _ in range(o["rows"])]
        items += items_of(o, lanes, cols, values)
        for token, j in product(range(o["rows"]), range(o["outputs"])):
            at = o["dest"] + token * o["dest_row"] + j * (o["dest_col"] if o["transpose"] else kind.step)
            places = (o["dest_col"], 0) if kind is Kind.PLANES else range(kind.bits // 8)
            some = o.get("bytes", [ALL])
            there = [(k, place) for k, place in enumerate(places) if some[token % len(some)] >> k & 1]
            expected |= {at + place: values[token][j] >> 8 * k & 255 for k, place in there}
    cycles = [0]

    async def bench(ctx):
        issued = taken = retired = 0
        while (retired < len(instructions) or taken < len(items)) and cycles[0] < (until or 3000):
            ctx.set(dut.i.valid, issued < len(instructions))
            if issued < len(instructions):
                o = instructions[issued]
                names = ("dest", "dest_row", "dest_col", "kind", "transpose")
                ctx.set(dut.i.payload, {name: o[name] for name in names} | {"index": issued})
            ready = rng.random() >= pressure
            ctx.set(dut.write.request.ready, ready)
            offered = taken < len(items)
            ctx.set(dut.items.valid, offered)
            if offered:
                ctx.set(dut.items.payload, items[taken])
            _, _, start, accept, valid, request, done, fault = await ctx.tick().sample(
                dut.i.ready, dut.items.ready, dut.write.request.valid, dut.write.request.payload, dut.retired, dut.fault
            )
            issued += issued < len(instructions) and bool(start)
            taken += offered and bool(accept)
            retired += bool(done)
            if fault:
                faults.append(ctx.get(dut.index))
            if valid and ready:
                assert request.mask
                writes.append(request.address)
                for k in range(ROWS):
                    if request.mask >> k & 1:
                        memory[request.address * ROWS + k] = request.data >> 8 * k & 255
            cycles[0] += 1

    simulate(dut, bench)
    return memory, expected, writes, cycles[0], faults


def base(**changes):
    return {
        "dest": 0, "dest_row": 8, "dest_col": 0, "kind": 0, "transpose": 0, "rows": 1, "outputs": 8,
    } | changes  # fmt: skip


@pytest.mark.parametrize("lanes", [1, 2, 4])
@pytest.mark.parametrize("kind", [0, 1, 2])
@pytest.mark.parametrize("pressure", PRESSURES)
def test_every_alignment(lanes, kind, pressure):
    """dest at every multiple of the element size in a word, outputs 1..9, two tokens that do not touch."""
    size = 1 << kind
    instructions = []
    for shift, outputs in product(range(0, ROWS, size), (1, 4, 9)):
        instructions.append(base(kind=kind, dest=shift, dest_row=40, rows=2, outputs=outputs))
    for o in (instructions[:6], instructions[6:12], instructions[12:18], instructions[18:]):
        if o:
            for k, instruction in enumerate(o):
                instruction["dest"] += 80 * k
            memory, expected, *_ = run(o, lanes=lanes, cols=4, pressure=pressure, seed=kind)
            assert memory == expected


@pytest.mark.parametrize("lanes", [1, 2, 4])
@pytest.mark.parametrize("pressure", PRESSURES)
def test_planes(lanes, pressure):
    """Both planes at every byte of a word, between instructions of other kinds."""
    for low in range(ROWS):
        planes = [
            base(kind=3, dest=shift + 60 * k, dest_col=240 + low, dest_row=21 + shift % 2 * 3, rows=2, outputs=outputs)
            for shift in range(ROWS)
            for k, outputs in enumerate((1, 4, 9))
        ]
        for first in range(0, len(planes), 3):
            o = [*planes[first : first + 3], base(dest=180), base(kind=2, dest=200)]
            memory, expected, *_ = run(o, lanes=lanes, cols=4, pressure=pressure, seed=low)
            assert memory == expected


def test_planes_take_two_cycles_and_two_writes_an_item():
    o = [base(kind=3, rows=3, dest_col=64, outputs=16, dest_row=16)]
    *_, writes, cycles, _ = run(o, lanes=4, cols=8)
    assert sorted(writes) == sorted(2 * [*range(6), *range(8, 14)])
    assert cycles <= 2 * 12 + ResultWriter.latency + 1


def test_the_low_plane_outside():
    """High bytes that lie inside may have been written."""
    o = [base(), base(kind=3, dest=8, dest_col=8 * (WORDS - 2), rows=2), base()]
    _, _, writes, _, faults = run(o, lanes=2, cols=8, until=100)
    assert writes == [0, *4 * [1, WORDS - 1], 2]
    assert set(faults) == {1}


@pytest.mark.parametrize("pressure", PRESSURES)
def test_transposed(pressure):
    """Elements of which some bytes are not there, a write each."""
    o = [
        base(transpose=1, kind=2, rows=3, outputs=7, dest=4, dest_row=4, dest_col=16, bytes=[0b1100, ALL, 0b0001]),
        base(transpose=1, kind=2, rows=2, outputs=6, dest=120, dest_row=24, dest_col=4, bytes=[0b0111, 0b1000]),
        base(transpose=1, kind=2, rows=1, outputs=9, dest=300, dest_row=0, dest_col=20, bytes=[0b0110]),
        base(kind=2, rows=2, dest=480, dest_row=16, outputs=4),
    ]
    memory, expected, writes, *_ = run(o, lanes=2, cols=4, pressure=pressure)
    assert memory == expected
    assert len(writes) == 21 + 12 + 9 + 4


def test_one_write_per_word_and_tile():
    """8 outputs of 2 bytes are two words a token; an aligned item takes one cycle."""
    _, _, writes, cycles, _ = run([base(kind=1, rows=4, dest_row=16)], lanes=2, cols=8)
    assert writes == list(range(8))
    assert cycles <= 4 * 4 + 5


def test_latency():
    """An instruction of one item, which is taken in the first cycle."""
    *_, cycles, _ = run([base(outputs=2)], lanes=2, cols=8)
    assert cycles - 1 == ResultWriter.latency


@pytest.mark.parametrize("words", [WORDS, 1 << 14, 1 << 16])
def test_faults_outside(words):
    """The write outside is not made; all before it are."""
    o = [base(), base(dest=8 * (words - 2), rows=3), base(dest=0)]
    memory, _, writes, _, faults = run(o, lanes=2, cols=8, words=words, until=100)
    assert writes == [0, words - 2, words - 1]
    assert max(memory) < ROWS * words
    assert set(faults) == {1}


def test_a_reset_forgets_the_write_that_waits():
    dut, reset = ResultWriter(rows=ROWS, words=WORDS, lanes=2), Signal()

    async def bench(ctx):
        o = base()
        ctx.set(dut.i.payload, {name: o[name] for name in ("dest", "dest_row", "dest_col", "kind", "transpose")})
        ctx.set(dut.i.valid, 1)
        ctx.set(
            dut.items.payload, {"values": [1, 2], "keep": 3, "token_end": 1, "last_token": 1, "end": 1, "bytes": ALL}
        )
        ctx.set(dut.items.valid, 1)
        await ctx.tick().until(dut.write.request.valid)
        ctx.set(dut.i.valid, 0)
        ctx.set(dut.items.valid, 0)
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        ctx.set(dut.write.request.ready, 1)
        for _ in range(8):
            assert not ctx.get(dut.write.request.valid)
            assert not ctx.get(dut.retired)
            await ctx.tick()

    simulate(dut, bench, reset=reset)

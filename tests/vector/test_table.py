# amaranth: UnusedElaboratable=no
"""Table against arith.table."""

import numpy as np
import pytest

from hw.spec import arith
from hw.spec.memory import TABLE_ENTRIES, read_table_entries, table_entries
from hw.vector.table import Table
from tests.support.rows import beats
from tests.support.streams import PRESSURES, run_streams, simulate


def words_of(entries, word_bits):
    raw = table_entries(entries).reshape(-1, word_bits // 8)
    return [int.from_bytes(word.tobytes(), "little") for word in raw]


def random_entries(seed):
    return np.random.default_rng(seed).integers(-(1 << 15), 1 << 15, TABLE_ENTRIES)


def run(dut, entries, rows, **kwargs):
    """Results per row, and the cycles of their beats from the first word on; checks mask and last."""
    items = [{**beat, "x": [x & 255 for x in beat["x"]]} for beat in beats(rows, dut.lanes)]
    inputs = {"words": words_of(entries, dut.word_bits), "i": items}
    got, cycles = run_streams(dut, inputs, {"o": len(items)}, **kwargs)
    found, row = [], []
    for item, beat in zip(items, got["o"], strict=True):
        assert (beat["mask"], beat["last"]) == (item["mask"], item["last"])
        row += beat["x"][: item["mask"].bit_count()]
        if item["last"]:
            found.append(row)
            row = []
    return found, cycles["o"]


@pytest.mark.parametrize("pressure", PRESSURES)
@pytest.mark.parametrize(("lanes", "word_bits"), [(1, 64), (2, 128), (4, 128), (8, 256)])
def test_equals_law_for_every_element(lanes, word_bits, pressure):
    """And rows of every remainder of the lanes."""
    entries, rng = random_entries(lanes), np.random.default_rng(lanes)
    rows = [np.arange(-128, 128), np.arange(127, -129, -1)]
    rows += [rng.integers(-128, 128, size) for size in (1, 2, 3, 4, 5, 8, 1, 17, 49)]
    got, _ = run(Table(lanes=lanes, word_bits=word_bits), entries, rows, pressure=pressure)
    assert got == [arith.table(row, entries).tolist() for row in rows]


def test_entries_lie_as_the_model_reads_them():
    entries = random_entries(0)
    assert np.array_equal(read_table_entries(table_entries(entries)), entries)
    assert table_entries(entries)[:2].tolist() == [entries[0] & 255, entries[0] >> 8 & 255]


@pytest.mark.parametrize("lanes", [2, 4])
def test_latency(lanes):
    """An entry per cycle, eight until the first word is taken; then results of a beat per cycle, from row to row."""
    dut = Table(lanes=lanes, word_bits=128)
    _, cycles = run(dut, random_entries(1), [np.arange(5), np.arange(1), np.arange(8)])
    first = TABLE_ENTRIES - 7 + dut.latency
    assert cycles == list(range(first, first + len(cycles)))
    assert len(cycles) == {2: 8, 4: 5}[lanes]


@pytest.mark.parametrize("reset", [False, True])
def test_another_table(reset):
    """After a start or a reset, also in the middle of one: none of the first one's entries is left."""
    dut, tables, seen = Table(lanes=2, word_bits=128), [random_entries(2), random_entries(3), random_entries(4)], []

    async def bench(ctx):
        ctx.set(dut.o.ready, 1)
        for number, entries in enumerate(tables):
            if number and not reset:
                ctx.set(dut.start, 1)
                await ctx.tick()
                ctx.set(dut.start, 0)
            ctx.set(dut.words.valid, 1)
            for word in words_of(entries, 128)[: 9 if number == 1 else None]:
                ctx.set(dut.words.payload, word)
                await ctx.tick().until(dut.words.ready)
            ctx.set(dut.words.valid, 0)
            if number == 1:  # left in the middle
                if reset:
                    await ctx.tick().repeat(3)
                    ctx.set(dut.words.valid, 1)
                    ctx.set(dut.words.payload, words_of(entries, 128)[9])
                    await ctx.tick().repeat(3)
                    ctx.set(dut.words.valid, 0)
            else:
                for x in range(0, 256, 2):
                    ctx.set(dut.i.payload, {"x": [x, x + 1], "mask": 3, "last": x == 254})
                    ctx.set(dut.i.valid, 1)
                    await ctx.tick().until(dut.i.ready)
                    seen.extend(ctx.get(dut.o.payload.x[lane]) for lane in range(2))
                ctx.set(dut.i.valid, 0)
            if reset and number < 2:
                ctx.set(rst, 1)
                await ctx.tick()
                ctx.set(rst, 0)

    from amaranth.hdl import ResetInserter, Signal

    rst = Signal()
    simulate(ResetInserter(rst)(dut), bench)
    x = np.arange(256).astype(np.uint8).view(np.int8)
    assert seen == [*arith.table(x, tables[0]), *arith.table(x, tables[2])]

"""Statistics are kept by bank and row, walked in order, looked up, and forgotten by nothing but what is written."""

import random

import pytest
from amaranth.hdl import Signal

from hw.vector.row_statistics import RowStatistics
from tests.support.streams import simulate

TOKENS = 16


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_keeps_and_walks(stall):
    rng = random.Random(2)
    dut = RowStatistics(tokens=TOKENS, row_max_banks=2, stat_banks=4)
    maxima = [rng.randrange(-128, 128) for _ in range(2 * TOKENS)]
    kept = {}

    async def row_max_ram(ctx):
        async for _, _, address in ctx.tick().sample(dut.row_max_address):
            ctx.set(dut.row_max_data, maxima[address])

    async def testbench(ctx):
        for bank, rows in ((0, 16), (3, 5), (1, 1), (0, 7)):
            ctx.set(dut.rows_m1, rows - 1)
            ctx.set(dut.stat_bank, bank)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            for row in range(rows):
                value = {"mean": rng.randrange(-(1 << 16), 1 << 16), "factor": rng.randrange(1 << 25)}
                kept[bank, row] = value
                ctx.set(dut.write, {"valid": 1, "mean": 1, "factor": 1, "value": value})
                _, _, done = await ctx.tick().sample(dut.done)
                assert done == (row == rows - 1)
                ctx.set(dut.write.valid, 0)
                await ctx.tick().repeat(rng.randrange(1, 3))
        ctx.set(dut.start, 1)
        ctx.set(dut.stat_bank, 3)
        await ctx.tick()
        ctx.set(dut.start, 0)
        for row, half in enumerate(("mean", "factor", "mean")):
            kept[3, row][half] = rng.randrange(1 << 16)
            value = {"mean": 1, "factor": 1} | {half: kept[3, row][half]}
            ctx.set(dut.write, {"valid": 1, "mean": half == "mean", "factor": half == "factor", "value": value})
            await ctx.tick()
        ctx.set(dut.write.valid, 0)
        for bank, rows, max_bank in ((0, 16, 1), (3, 5, 0), (3, 5, None), (1, 1, 1), (0, 7, 0)):
            ctx.set(dut.own_max, max_bank is None)
            max_bank = max_bank or 0
            ctx.set(dut.rows_m1, rows - 1)
            ctx.set(dut.stat_bank, bank)
            ctx.set(dut.row_max_bank, max_bank)
            ctx.set(dut.walk, 1)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            row = cycles = 0
            while row < rows:
                ctx.set(dut.o.ready, int(rng.random() >= stall))
                _, _, valid, ready, item = await ctx.tick().sample(dut.o.valid, dut.o.ready, dut.o.payload)
                cycles += 1
                if valid and ready:
                    own = (kept[bank, row]["mean"] + 128) % 256 - 128
                    assert item.row_max == (own if ctx.get(dut.own_max) else maxima[max_bank * TOKENS + row])
                    assert item.factor == kept[bank, row]["factor"]
                    row += 1
            assert stall or cycles == 2 * rows
            ctx.set(dut.o.ready, 1)
            for _ in range(6):
                assert not ctx.get(dut.o.valid), "more rows than there are"
                await ctx.tick()
        ctx.set(dut.walk, 0)
        ctx.set(dut.lookup, 1)
        for (bank, row), value in kept.items():
            ctx.set(dut.stat_bank, bank)
            ctx.set(dut.row, row)
            await ctx.tick()
            found = ctx.get(dut.found)
            assert {"mean": found.mean, "factor": found.factor} == value

    simulate(dut, testbench, background=[row_max_ram])


def value_of(row):
    return {"mean": row - 3, "factor": 1000 + row}


async def begin(ctx, dut, rows, *, walk=0):
    ctx.set(dut.rows_m1, rows - 1)
    ctx.set(dut.walk, walk)
    ctx.set(dut.start, 1)
    await ctx.tick()
    ctx.set(dut.start, 0)


async def write(ctx, dut, rows):
    """Statistics of some rows, with pauses, in which nothing is done."""
    await begin(ctx, dut, rows)
    for row in range(rows):
        ctx.set(dut.write, {"valid": 0, "mean": 1, "factor": 1, "value": value_of(99)})
        assert not ctx.get(dut.done)
        await ctx.tick()
        ctx.set(dut.write, {"valid": 1, "mean": 1, "factor": 1, "value": value_of(row)})
        assert ctx.get(dut.done) == (row == rows - 1)
        await ctx.tick()
    ctx.set(dut.write.valid, 0)
    assert not ctx.get(dut.done)


async def walked(ctx, dut, cycles):
    """Factors of the rows that come in some cycles."""
    found = []
    ctx.set(dut.o.ready, 1)
    for _ in range(cycles):
        _, _, valid, item = await ctx.tick().sample(dut.o.valid, dut.o.payload)
        if valid:
            found.append(item.factor)
    ctx.set(dut.o.ready, 0)
    return found


def test_what_was_found_stays_until_the_next_lookup():
    dut = RowStatistics(tokens=TOKENS, row_max_banks=2, stat_banks=4)

    async def bench(ctx):
        await write(ctx, dut, 4)
        for row in (2, 1, 3):
            ctx.set(dut.row, row)
            ctx.set(dut.lookup, 1)
            await ctx.tick()
            ctx.set(dut.lookup, 0)
            for other in range(4):
                ctx.set(dut.row, other)
                found = ctx.get(dut.found)
                assert {"mean": found.mean, "factor": found.factor} == value_of(row)
                await ctx.tick()

    simulate(dut, bench)


@pytest.mark.parametrize("walk", [0, 1])
@pytest.mark.parametrize("end", ["start", "reset"])
@pytest.mark.parametrize("cycles", range(1, 6))
def test_a_walk_is_cut_off(cycles, end, walk):
    """By a start, which may begin another walk, or by a reset, after which there is none, whatever it had come to."""
    dut, reset = RowStatistics(tokens=TOKENS, row_max_banks=2, stat_banks=4), Signal()

    async def bench(ctx):
        await write(ctx, dut, 8)
        await begin(ctx, dut, 8, walk=1)
        assert await walked(ctx, dut, 4) == [1000, 1001]
        await ctx.tick().repeat(cycles)
        if end == "reset":
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
            assert not ctx.get(dut.o.valid)
            assert not await walked(ctx, dut, 8)
        await begin(ctx, dut, 3, walk=walk)
        assert not ctx.get(dut.o.valid)
        assert await walked(ctx, dut, 12) == [1000, 1001, 1002][: 3 * walk]

    simulate(dut, bench, reset=reset)


def test_as_many_rows_as_there_can_be():
    """Of the 256 that 8 bits can number."""
    dut = RowStatistics(tokens=256, row_max_banks=2, stat_banks=4)

    async def bench(ctx):
        await write(ctx, dut, 256)
        await begin(ctx, dut, 256, walk=1)
        assert await walked(ctx, dut, 2 * 256 + 4) == [value_of(row)["factor"] for row in range(256)]

    simulate(dut, bench)

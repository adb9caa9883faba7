"""The row maximum equals Python's, for every token, over several tiles."""

import random

import pytest
from amaranth.hdl import Signal

from hw.matmul.row_max import RowMax
from tests.support.streams import simulate


def nothing(rng, lanes, tokens, banks):
    """What there may be beside ``valid`` when it is low: anything."""
    flags = {name: rng.randrange(2) for name in ("start", "end", "begin")}
    values = [rng.randint(-128, 127) for _ in range(lanes)]
    place = {"bank": rng.randrange(banks), "token": rng.randrange(tokens)}
    return {"valid": 0, "values": values, "keep": rng.randrange(1 << lanes)} | flags | place


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_maximum_of_all_tiles(lanes):
    tokens, banks = 16, 4
    dut, rng, expected, items = RowMax(tokens=tokens, banks=banks, lanes=lanes), random.Random(lanes), {}, []
    for bank, rows in ((2, tokens), (0, 1), (3, 2), (2, 1)):  # one: what is read is what is written in that cycle
        low = rng.choice([-128, 0, 100])  # also maxima below those of the tile before, and of a former instruction
        for tile in range(3):
            for token in range(rows):
                groups = rng.randint(1, 3)
                for group in range(groups):
                    values = [rng.randint(-128, max(low, -100)) for _ in range(lanes)]
                    keep = (1 << rng.randint(1, lanes)) - 1 if group == groups - 1 else (1 << lanes) - 1
                    items.append({
                        "valid": 1, "values": values, "keep": keep, "start": group == 0, "end": group == groups - 1,
                        "begin": tile == 0, "bank": bank, "token": token,
                    })  # fmt: skip
                    kept = [value for lane, value in enumerate(values) if keep >> lane & 1]
                    if tile == group == 0:
                        expected[bank, token] = -128
                    expected[bank, token] = max(expected[bank, token], *kept)

    async def bench(ctx):
        for item in items:
            while rng.random() < 0.2:
                ctx.set(dut.i, nothing(rng, lanes, tokens, banks))
                await ctx.tick()
            ctx.set(dut.i, item)
            await ctx.tick()
        ctx.set(dut.i.valid, 0)
        await ctx.tick().repeat(2)
        for (bank, token), value in expected.items():
            ctx.set(dut.address, bank * tokens + token)
            await ctx.tick().repeat(dut.latency)
            assert ctx.get(dut.data) == value

    simulate(dut, bench)


def test_a_reset_changes_no_maximum():
    """What is at the input with it and in the cycle before has an end, and is not of a token."""
    dut, reset, found = RowMax(tokens=4, banks=2, lanes=1), Signal(), []
    item = {"valid": 1, "values": [5], "keep": 1, "start": 1, "end": 1, "begin": 1, "bank": 1, "token": 2}

    async def bench(ctx):
        ctx.set(dut.address, 1 * 4 + 2)
        ctx.set(dut.i, item)
        await ctx.tick()
        ctx.set(dut.i, item | {"valid": 0, "values": [9]})
        await ctx.tick().repeat(2)
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        for _ in range(4):
            await ctx.tick()
            found.append(ctx.get(dut.data))

    simulate(dut, bench, reset=reset)
    assert found == [5] * 4

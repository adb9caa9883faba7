"""The row maximum equals Python's, for every token, over several tiles."""

import random

import pytest

from hw.matmul.row_max import RowMax
from tests.support.streams import simulate


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
                ctx.set(dut.i, item | {"valid": 0})
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

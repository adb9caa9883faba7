"""The maximum of the results that pass by equals Python's, row by row."""

import random

import pytest

from hw.vector.result_max import ResultMax
from tests.support.rows import beats
from tests.support.streams import simulate


@pytest.mark.parametrize("lanes", [1, 2, 8])
def test_maximum_of_every_row(lanes):
    dut, rng = ResultMax(lanes=lanes), random.Random(1)
    rows = [[-128], [127, -128], [-128, 127], [-3, -5, -4], [5]]
    rows += [[rng.randrange(-128, 128) for _ in range(rng.randint(1, 30))] for _ in range(50)]
    found, due, cycle = [], [], 0

    async def tick(ctx):
        nonlocal cycle
        await ctx.tick()
        cycle += 1
        if ctx.get(dut.o.valid):
            found.append((cycle, ctx.get(dut.o.x)))

    async def bench(ctx):
        for row in rows:
            for beat in beats([row], lanes):
                while rng.random() < 0.3:
                    ctx.set(dut.i, {"valid": 0, "x": [127] * lanes, "mask": 1, "last": 1})
                    await tick(ctx)
                ctx.set(dut.i, {"valid": 1, **beat, "last": int(beat["last"])})
                if beat["last"]:
                    due.append(cycle + dut.latency)
                await tick(ctx)
        ctx.set(dut.i.valid, 0)
        for _ in range(dut.latency):
            await tick(ctx)

    simulate(dut, bench)
    assert found == list(zip(due, map(max, rows), strict=True))

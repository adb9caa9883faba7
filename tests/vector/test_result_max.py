"""The maximum of the results that pass by equals Python's, row by row."""

import random

from hw.vector.result_max import ResultMax
from tests.support.streams import simulate


def test_maximum_of_every_row():
    dut, rng = ResultMax(), random.Random(1)
    rows = [[-128], [127, -128], [-128, 127], [-3, -5, -4], [5]]
    rows += [[rng.randrange(-128, 128) for _ in range(rng.randint(1, 9))] for _ in range(50)]
    found = []

    async def bench(ctx):
        for row in rows:
            for position, x in enumerate(row):
                while rng.random() < 0.3:
                    ctx.set(dut.i, {"valid": 0, "x": 127, "last": 1})
                    await ctx.tick()
                    assert not ctx.get(dut.o.valid)
                last = position == len(row) - 1
                ctx.set(dut.i, {"valid": 1, "x": x, "last": last})
                await ctx.tick()
                assert ctx.get(dut.o.valid) == last
                if last:
                    found.append(ctx.get(dut.o.x))
        ctx.set(dut.i.valid, 0)

    simulate(dut, bench)
    assert found == [max(row) for row in rows]

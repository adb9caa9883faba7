"""The least index of any choice, found in 32 cycles."""

import random

from hw.sequencer.earliest import Earliest
from tests.support.streams import simulate


def test_finds_the_least_of_the_chosen():
    rng, dut = random.Random(0), Earliest(count=5)

    async def bench(ctx):
        for _ in range(40):
            bits = rng.choice((1, 3, 24))
            indices = [rng.randrange(1 << bits) << rng.randrange(25 - bits) for _ in range(5)]
            chosen = rng.randrange(1, 32)
            ctx.set(dut.indices, indices)
            ctx.set(dut.chosen, chosen)
            ctx.set(dut.choose, 1)
            await ctx.tick()
            ctx.set(dut.choose, 0)
            ctx.set(dut.chosen, 31)  # only looked at with `choose`
            ctx.set(dut.scan, 1)
            for position in range(32):
                ctx.set(dut.position, position)
                await ctx.tick()
            ctx.set(dut.scan, 0)
            await ctx.tick()
            assert ctx.get(dut.index) == min(index for k, index in enumerate(indices) if chosen >> k & 1)
        ctx.set(dut.clear, 1)
        await ctx.tick()
        assert ctx.get(dut.index) == 0

    simulate(dut, bench)

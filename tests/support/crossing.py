"""Two clocks of random periods and phases, and resets of either, around what crosses between them."""

import random

from amaranth.hdl import ClockDomain, Module
from amaranth.sim import Simulator

__all__ = ["TwoClocks"]


class TwoClocks:
    """`dut` between the domains ``core`` and ``sync``, whose resets ``core.rst`` and ``sync.rst`` a testbench may set.

    `ratio` is the core's clock over the other's; phases and the last percent of the periods are drawn from `seed`.
    While `frozen`, the core's clock stands still, where it is `stoppable`.
    """

    def __init__(self, dut, *, ratio, seed, stoppable=False):
        self.random = random.Random(seed)
        self.core, self.sync = ClockDomain("core"), ClockDomain("sync")
        m = Module()
        m.domains += [self.core, self.sync]
        m.submodules.dut = dut
        self.simulator = Simulator(m)
        draw = self.random
        for domain, period in (("sync", 1e-8), ("core", 1e-8 / ratio)):
            period *= draw.uniform(0.99, 1.01)
            if domain == "sync" or not stoppable:
                self.simulator.add_clock(period, phase=draw.uniform(0, period), domain=domain)
        self.frozen, self._half = False, period / 2
        if stoppable:
            self.simulator.add_testbench(self._clock, background=True)

    def run(self, main, *others, limit=4_000_000):
        """Until `main` returns; `others` go on for as long. Fails after `limit` steps: an edge is one or two."""
        self.simulator.add_testbench(main)
        for other in others:
            self.simulator.add_testbench(other, background=True)
        steps = 0
        while self.simulator.advance():
            steps += 1
            assert steps < limit, f"no end in {limit} steps"

    async def _clock(self, ctx):
        while True:
            for level in (1, 0):
                await ctx.delay(self._half)
                ctx.set(self.core.clk, level and not self.frozen)

    async def tick(self, ctx, domain, *signals):
        """The next edge of `domain`: whether that is in reset, and the signals' values before."""
        _, *values = await anext(aiter(ctx.tick(domain).sample(*signals)))  # `await` alone stops at a reset
        return values

    async def wait(self, ctx, cycles, domain="sync"):
        for _ in range(cycles):
            await self.tick(ctx, domain)

    async def until(self, ctx, condition, patience=3000):
        for _ in range(patience):
            await self.wait(ctx, 1)
            if condition():
                return
        raise AssertionError(f"nothing in {patience} cycles")

    async def pulse(self, ctx, domain, cycles):
        """A reset of `domain` for some of its cycles, synchronous to it."""
        reset = getattr(self, domain).rst
        await self.wait(ctx, 1, domain)
        ctx.set(reset, 1)
        await self.wait(ctx, cycles, domain)
        ctx.set(reset, 0)

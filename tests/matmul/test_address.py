"""Addresses never come back from outside, whatever is added: tried for every value of few bits."""

from itertools import product

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.matmul.address import advance, extend
from tests.support.streams import simulate

BITS = 3


class Walk(wiring.Component):
    """start + one step + another."""

    start: In(BITS + 1)
    short: In(BITS - 1)
    step: In(BITS)
    begin: Out(BITS + 1)
    end: Out(BITS + 1)
    small: Out(BITS + 3)

    def elaborate(self, _platform):
        m = Module()
        once = Signal(BITS + 1)
        m.d.comb += [
            self.begin.eq(extend(self.start, BITS)),
            once.eq(advance(self.begin, self.short)),
            self.end.eq(advance(once, self.step)),
            self.small.eq(extend(self.start, BITS + 2)),
        ]
        return m


def test_sticky():
    dut = Walk()

    async def bench(ctx):
        for start, short, step in product(range(2 << BITS), range(1 << BITS - 1), range(1 << BITS)):
            ctx.set(dut.start, start)
            ctx.set(dut.short, short)
            ctx.set(dut.step, step)
            await ctx.delay(1e-6)
            true = start + short + step
            end = ctx.get(dut.end)
            assert ctx.get(dut.small) == start
            assert end >> BITS == (true >= 1 << BITS)
            assert end >> BITS or end == true

    simulate(dut, bench)

"""credit: equals plain arithmetic wherever the result is a level."""

import itertools

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import Component, In, Out

from hw.dma.credit import credit
from tests.support.streams import simulate


class Counter(Component):
    """`credit` with all operands as ports."""

    def __init__(self, bits):
        super().__init__({"level": In(bits), "last": In(8), "take": In(1), "give": In(1), "o": Out(bits)})

    def elaborate(self, _platform):
        m = Module()
        m.d.comb += self.o.eq(credit(self.level, take=self.take, last=self.last, give=self.give))
        m.d.sync += Signal().eq(self.o[0])
        return m


@pytest.mark.parametrize(("bits", "levels"), [(5, range(32)), (10, (0, 1, 17, 255, 256, 257, 600, 1023))])
def test_all_levels(bits, levels):
    """Counters narrower than a burst's length, and wider ones."""
    dut = Counter(bits)

    async def testbench(ctx):
        await ctx.tick()
        for level, last, take, give in itertools.product(levels, (*range(18), 255), range(2), range(2)):
            wanted = level - take * (last + 1) + give
            if 0 <= wanted < 1 << bits:
                for port, value in ((dut.level, level), (dut.last, last), (dut.take, take), (dut.give, give)):
                    ctx.set(port, value)
                assert ctx.get(dut.o) == wanted

    simulate(dut, testbench)

"""credit: equals plain arithmetic wherever the result is a level."""

import itertools

from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import Component, In, Out

from hw.dma.credit import credit
from tests.support.streams import simulate


class Counter(Component):
    """`credit` with all operands as ports."""

    level: In(5)
    last: In(8)
    take: In(1)
    give: In(1)
    o: Out(5)

    def elaborate(self, _platform):
        m = Module()
        m.d.comb += self.o.eq(credit(self.level, take=self.take, last=self.last, give=self.give))
        m.d.sync += Signal().eq(self.o[0])
        return m


def test_all_levels():
    dut = Counter()

    async def testbench(ctx):
        await ctx.tick()
        for level, last, take, give in itertools.product(range(32), range(18), range(2), range(2)):
            wanted = level - take * (last + 1) + give
            if 0 <= wanted < 32:
                for port, value in ((dut.level, level), (dut.last, last), (dut.take, take), (dut.give, give)):
                    ctx.set(port, value)
                assert ctx.get(dut.o) == wanted

    simulate(dut, testbench)

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.units.carry_chain import plus
from tests.support.streams import simulate

BITS = 4


class Sum(wiring.Component):
    a: In(BITS)
    b: In(BITS)
    carry: In(1)
    o: Out(BITS)

    def elaborate(self, _platform):
        m = Module()
        m.d.comb += self.o.eq(plus(Cat(self.a), Cat(self.b), self.carry))
        return m


def test_every_sum():
    dut, all_, got = Sum(), Signal(2 * BITS + 1), []
    m = Module()
    m.submodules.dut = dut
    m.d.comb += Cat(dut.a, dut.b, dut.carry).eq(all_)

    async def bench(ctx):
        for value in range(1 << len(all_)):
            ctx.set(all_, value)
            await ctx.delay(1e-9)
            got.append(ctx.get(dut.o))

    simulate(m, bench)
    mask = (1 << BITS) - 1
    assert got == [(v + (v >> BITS) + (v >> 2 * BITS)) & mask for v in range(1 << len(all_))]

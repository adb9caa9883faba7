# amaranth: UnusedElaboratable=no
"""A pipe keeps its items and their order, closes the bubble at its end, and forgets them at a reset."""

import pytest
from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.units.pipe import Pipe, delay
from tests.support.streams import PRESSURES, run_stream, simulate

ITEM = data.StructLayout({"x": 8, "tag": 6})


class Adder(wiring.Component):
    """x + 1, `stages` later, with its tag."""

    def __init__(self, stages, item=ITEM):
        self.stages = stages
        super().__init__({"i": In(stream.Signature(item)), "o": Out(stream.Signature(item))})

    def elaborate(self, _platform):
        m = Module()
        pipe = Pipe(m, self.i, self.o, self.stages)
        pipe.carry()
        m.d.comb += self.o.p.x.eq(pipe.hold(self.i.p.x + 1, "x", steps=self.stages))
        return m


@pytest.mark.parametrize("pressure", PRESSURES)
@pytest.mark.parametrize("stages", [1, 2, 5, 33])  # 33: more than a shift register holds
def test_items_leave_in_order_after_their_stages(stages, pressure):
    items = [{"x": k, "tag": k ^ 5 & 63} for k in range(60)]
    results, cycles = run_stream(Adder(stages), items, pressure=pressure)
    assert results == [{"x": k + 1, "tag": k ^ 5 & 63} for k in range(60)]
    if not pressure:
        assert cycles == [stages + k for k in range(60)]


def test_carries_only_what_is_there():
    results, _ = run_stream(Adder(2, data.StructLayout({"x": 8})), [{"x": 3}])
    assert results == [{"x": 4}]


@pytest.mark.parametrize("stepped", [False, True])
def test_delay_counts_steps_or_cycles(stepped):
    m, x, step = Module(), Signal(8), Signal()
    late = delay(m, x, 2, "x", step=step if stepped else None)

    async def bench(ctx):
        taken = [0, 0]
        for cycle in range(1, 20):
            ctx.set(x, cycle)
            ctx.set(step, cycle % 3 == 0)
            if not stepped or cycle % 3 == 0:
                taken.append(cycle)
            await ctx.tick()
            assert ctx.get(late) == taken[-2]

    simulate(m, bench)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_only_the_end_of_a_delay_powers_up_as_told(steps):
    m, x, seen = Module(), Signal(8), []
    late = delay(m, x, steps, "x", init=5)

    async def bench(ctx):
        ctx.set(x, 9)
        for _ in range(steps + 2):
            seen.append(ctx.get(late))
            await ctx.tick()

    simulate(m, bench)
    assert seen == [5, *[0] * (steps - 1), 9, 9]


def test_moves_until_an_item_waits_at_its_end():
    dut = Adder(3)

    async def bench(ctx):
        moves = []
        for cycle in range(8):  # nobody takes the only item
            ctx.set(dut.i.valid, cycle == 1)
            moves.append((int(ctx.get(dut.i.ready)), int(ctx.get(dut.o.valid))))
            await ctx.tick()
        assert moves == [(1, 0)] * 4 + [(0, 1)] * 4

    simulate(dut, bench)


def test_reset_in_mid_operation_forgets_every_item():
    reset, dut = Signal(), Adder(4)

    async def bench(ctx):
        ctx.set(dut.i.valid, 1)
        await ctx.tick().repeat(6)
        assert ctx.get(dut.o.valid)
        ctx.set(dut.i.valid, 0)
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        ctx.set(dut.o.ready, 1)
        for _ in range(6):
            assert not ctx.get(dut.o.valid)
            await ctx.tick()

    simulate(ResetInserter(reset)(dut), bench)

import random

import pytest
from amaranth.hdl import Array, Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.units.credit_queue import CreditQueue
from tests.support.streams import PRESSURES, run_stream


class Behind(wiring.Component):
    """The queue behind a pipeline of `steps` registers that never stalls."""

    def __init__(self, steps, depth):
        self.steps, self.queue = steps, CreditQueue(shape=8, depth=depth)
        super().__init__({"i": In(stream.Signature(8)), "o": Out(stream.Signature(8))})

    def elaborate(self, _platform):
        m = Module()
        m.submodules.queue = queue = self.queue
        valid = Signal(self.steps)
        items = Array(Signal(8) for _ in range(self.steps))
        m.d.comb += [
            self.i.ready.eq(queue.room),
            queue.begin.eq(self.i.valid & self.i.ready),
            queue.i.valid.eq(valid[-1]),
            queue.i.payload.eq(items[-1]),
        ]
        m.d.sync += valid.eq(Cat(queue.begin, valid))
        m.d.sync += [later.eq(item) for later, item in zip(items, [self.i.payload, *items], strict=False)]
        wiring.connect(m, queue.o, wiring.flipped(self.o))
        return m


@pytest.mark.parametrize("pressure", [*PRESSURES, 0.9])
@pytest.mark.parametrize(("steps", "depth"), [(1, 2), (6, 8), (14, 16), (20, 16)])
def test_keeps_order_and_loses_nothing(steps, depth, pressure):
    rng = random.Random(steps)
    items = [rng.randrange(256) for _ in range(120)]
    dut = Behind(steps, depth)
    results, cycles = run_stream(dut, items, pressure=pressure)
    assert results == items
    assert cycles[0] >= steps + dut.queue.latency
    if not pressure and depth >= CreditQueue.depth_behind(steps):
        assert cycles == list(range(steps + dut.queue.latency, steps + dut.queue.latency + len(items)))

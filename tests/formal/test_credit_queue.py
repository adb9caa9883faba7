"""The queue with credits: nothing is lost, invented, reordered or withdrawn, whatever the pipeline before it does."""

from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Module, Signal

from hw.units.credit_queue import CreditQueue
from tests.support.formal import prove

DEPTH, BITS, CYCLES = 2, 1, 10


def test_delivers_every_item_once_in_order():
    """In the first `CYCLES` cycles: five times round the memory, with every pattern of stalls and delays."""
    m = Module()
    m.submodules.dut = dut = CreditQueue(shape=BITS, depth=DEPTH)
    begin, arrive, ready, item = Signal(), Signal(), Signal(), Signal(BITS)
    begun, arrived, taken = (Signal(range(CYCLES + 1), name=name) for name in ("begun", "arrived", "taken"))
    watched = AnyConst(len(taken))  # the number of an item
    its_value, waiting = Signal(BITS), Signal(BITS + 1)
    take = dut.o.valid & ready
    m.d.comb += [
        dut.begin.eq(begin),
        dut.i.valid.eq(arrive),
        dut.i.payload.eq(item),
        dut.o.ready.eq(ready),
        Assume(~begin | dut.room),
        Assume(~arrive | (begun != arrived)),
        Assert(dut.o.valid == (arrived != taken)),
        Assert(dut.room == (begun - taken != DEPTH)),
    ]
    m.d.sync += [begun.eq(begun + begin), arrived.eq(arrived + arrive), taken.eq(taken + take)]
    m.d.sync += waiting.eq((dut.o.valid & ~ready) | (dut.o.payload << 1))
    with m.If(arrive & (arrived == watched)):
        m.d.sync += its_value.eq(item)
    with m.If(take & (taken == watched)):
        m.d.comb += Assert(dut.o.payload == its_value)
    with m.If(waiting[0]):
        m.d.comb += Assert(dut.o.valid & (dut.o.payload == waiting[1:]))
    prove(m, ports=[begin, arrive, ready, item], depth=CYCLES)

"""The register slice: for ever, nothing is lost, invented, changed or withdrawn."""

from amaranth.hdl import Assert, Module, Signal

from hw.units.register_slice import RegisterSlice
from tests.support.formal import prove


def test_holds_what_it_took_until_it_is_taken():
    """By induction: it offers exactly the item taken last, from the next cycle on, until that has been taken."""
    m = Module()
    m.submodules.dut = dut = RegisterSlice(shape=4)
    valid, ready, item = Signal(), Signal(), Signal(4)
    held, full = Signal(4), Signal()  # the item taken and not yet given
    m.d.comb += [
        dut.i.valid.eq(valid),
        dut.i.payload.eq(item),
        dut.o.ready.eq(ready),
        Assert(dut.o.valid == full),
        Assert(dut.i.ready == ~full),
        Assert(~full | (dut.o.payload == held)),
    ]
    with m.If(valid & dut.i.ready):
        m.d.sync += [held.eq(item), full.eq(1)]
    with m.If(dut.o.valid & ready):
        m.d.sync += full.eq(0)
    prove(m, ports=[valid, ready, item], depth=3, mode="prove")

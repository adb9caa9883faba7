"""Register accesses from one clock domain to another."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from hw.axi.signature import AXILite

__all__ = ["LiteCrossing"]

_SLVERR = 2
_REQUEST = ("awaddr", "wdata", "wstrb", "araddr")


class LiteCrossing(wiring.Component):
    """Carries accesses of AXI4-Lite from the domain ``sync`` to ``core``, one at a time; a write goes before a read.

    What crosses is held in registers while it does, and only one wire of each direction is sampled. An access that
    comes while the core is in reset, or has not been answered when that begins, answers an error.

    Members
    -------
    manager : In(AXILite())
        Of ``sync``. A write is taken when its address and data are both there.
    subordinate : Out(AXILite())
        Of ``core``.
    open : In(1), hold : In(1)
        `AxiCrossing`'s.
    """

    def __init__(self):
        super().__init__({"manager": In(AXILite()), "subordinate": Out(AXILite()), "open": In(1), "hold": In(1)})

    def elaborate(self, _platform):
        m = Module()
        bus, far = self.manager, self.subordinate
        held = {name: Signal.like(getattr(bus, name), name=name, reset_less=True) for name in _REQUEST}
        ask, write, done = Signal(), Signal(reset_less=True), Signal()
        data, failed = Signal(32, name="answer", reset_less=True), Signal(name="failed", reset_less=True)
        asked, seen = Signal(), Signal()
        m.submodules.ask = FFSynchronizer(ask, asked, o_domain="core")
        m.submodules.done = FFSynchronizer(done, seen)
        self._near(m, bus, held, ask, write, seen, data, failed)
        self._far(m, far, held, asked, write, done, data, failed)
        return m

    def _near(self, m, bus, held, ask, write, seen, data, failed):
        """The manager's side: takes a request, asks, answers."""
        writing, free = bus.awvalid & bus.wvalid, Signal()
        m.d.comb += [
            free.eq(~ask & ~seen & ~bus.bvalid & ~bus.rvalid),
            bus.awready.eq(free & writing),
            bus.wready.eq(free & writing),
            bus.arready.eq(free & ~writing),
        ]
        with m.If(bus.bready):
            m.d.sync += bus.bvalid.eq(0)
        with m.If(bus.rready):
            m.d.sync += bus.rvalid.eq(0)
        refused = free & ~self.open  # what is held stays: the core may not know yet that it is in reset
        with m.If(free & self.open & (writing | bus.arvalid)):
            m.d.sync += [ask.eq(1), write.eq(writing)]
            m.d.sync += [signal.eq(getattr(bus, name)) for name, signal in held.items()]
        with m.Elif(ask & (seen | ~self.open)):
            m.d.sync += [ask.eq(0), bus.bvalid.eq(write), bus.rvalid.eq(~write), bus.rdata.eq(data)]
            m.d.sync += [signal.eq(Cat(0, ~seen | failed)) for signal in (bus.bresp, bus.rresp)]
        with m.Elif(refused & (writing | bus.arvalid)):
            m.d.sync += [bus.bvalid.eq(writing), bus.rvalid.eq(~writing), bus.bresp.eq(_SLVERR), bus.rresp.eq(_SLVERR)]

    def _far(self, m, far, held, asked, write, done, data, failed):
        """The subordinate's side: makes the access, keeps the answer until it has been seen."""
        sent = {name: Signal(name=f"sent_{name}") for name in ("aw", "w", "ar")}
        doing = Signal()
        m.d.comb += [
            doing.eq(asked & ~done & ~self.hold),
            *(getattr(far, name).eq(signal) for name, signal in held.items()),
            far.awvalid.eq(doing & write & ~sent["aw"]),
            far.wvalid.eq(doing & write & ~sent["w"]),
            far.arvalid.eq(doing & ~write & ~sent["ar"]),
            far.bready.eq(doing & write),
            far.rready.eq(doing & ~write),
        ]
        for name, signal in sent.items():
            valid, ready = getattr(far, f"{name}valid"), getattr(far, f"{name}ready")
            m.d.core += signal.eq(doing & (signal | (valid & ready)))
        with m.If((far.bvalid & far.bready) | (far.rvalid & far.rready)):
            m.d.core += [done.eq(1), data.eq(far.rdata)]
            with m.If(write):
                m.d.core += failed.eq(far.bresp[1])
            with m.Else():
                m.d.core += failed.eq(far.rresp[1])
            for signal in sent.values():
                m.d.core += signal.eq(0)
        with m.Elif(~asked | self.hold):
            m.d.core += done.eq(0)

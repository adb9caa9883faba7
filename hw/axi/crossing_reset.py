"""When the sides of a clock crossing may move: a reset of either is told to the other, and both begin anew."""

from amaranth.hdl import Module, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import AsyncFFSynchronizer, FFSynchronizer
from amaranth.lib.wiring import In, Out

__all__ = ["CrossingReset"]

_SETTLED = 4  # stages: two more than of a pointer, so what was written before a reset is seen before the reset is


class CrossingReset(wiring.Component):
    """A handshake between the domains ``sync``, the memory's, and ``core``, the accelerator's.

    After a reset of ``core``, however short, the core is held, ``drain`` is high until `drained`, then both halves of
    every FIFO are cleared, and the core is let go. After a reset of ``sync`` the core is held, and both halves are
    cleared, before anything moves. Whatever is in ``core`` follows when its clock runs; ``sync`` never waits for it
    with anything open. All signals come from registers but ``blocked``.

    Members
    -------
    drained : In(1)
        Of ``sync``: nothing that the core began is under way.
    open, drain, flush : Out(1)
        Of ``sync``: requests may pass; the core was reset, so they are ended for it; this side's FIFOs are cleared.
    hold, blocked, clear : Out(1)
        Of ``core``: the core is in reset; it gives nothing from this very cycle on; this side's FIFOs are cleared.
    """

    def __init__(self):
        names = ("open", "drain", "flush", "hold", "blocked", "clear")
        super().__init__({"drained": In(1), **{name: Out(1, init=name in ("flush", "hold")) for name in names}})

    def elaborate(self, _platform):
        m = Module()
        stopped, clear, hold = (
            Signal(name=name, init=init, reset_less=True) for name, init in (("stopped", 0), ("clear", 0), ("hold", 1))
        )
        ended, caught, lost, cleared = Signal(), Signal(), Signal(), Signal()
        m.d.comb += ended.eq(ResetSignal("core") | stopped)
        m.submodules.catch = AsyncFFSynchronizer(ended, caught)  # without the core's clock, too
        m.submodules.lost = FFSynchronizer(caught, lost, stages=_SETTLED)
        m.submodules.cleared = FFSynchronizer(self.clear, cleared)
        with m.If(self.flush):
            m.d.sync += self.flush.eq(~cleared)
        with m.Elif(~self.open):
            m.d.sync += [self.open.eq(~cleared & ~lost), self.flush.eq(~cleared & lost)]
        with m.Elif(~self.drain):
            m.d.sync += self.drain.eq(lost)
        with m.Elif(self.drained):
            m.d.sync += [self.drain.eq(0), self.open.eq(0), self.flush.eq(1)]

        flush, opened = Signal(), Signal()
        m.submodules.flush = FFSynchronizer(self.flush, flush, o_domain="core")
        m.submodules.opened = FFSynchronizer(self.open, opened, o_domain="core")
        m.d.core += [
            stopped.eq(ended & ~flush),
            clear.eq(flush),
            hold.eq(self.blocked),
        ]
        m.d.comb += [
            self.blocked.eq(ResetSignal("core") | stopped | flush | clear | ~opened),
            self.clear.eq(clear),
            self.hold.eq(hold),
        ]
        return m

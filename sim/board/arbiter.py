"""One memory port for two: what LiteDRAM's crossbar does on a board."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.units.ports import AR, AW, AXIRead, AXIWrite

__all__ = ["MemoryArbiter"]

_LINK_ID = 3  # the core uses 0 to 2
_COUNT_BITS = 8  # of write bursts under way


class MemoryArbiter(wiring.Component):
    """Merges the core's bursts with the link's, which are of one beat, and one at a time; the link comes first.

    Beats read return by id. Writes answer in order without an id, so the link's waits until all of the core's are
    answered.

    Members
    -------
    core_read, link_read : In(AXIRead), core_write, link_write : In(AXIWrite)
    read : Out(AXIRead), write : Out(AXIWrite)
    """

    def __init__(self, *, word_bits):
        super().__init__({
            "core_read": In(AXIRead(word_bits)),
            "link_read": In(AXIRead(word_bits)),
            "core_write": In(AXIWrite(word_bits)),
            "link_write": In(AXIWrite(word_bits)),
            "read": Out(AXIRead(word_bits)),
            "write": Out(AXIWrite(word_bits)),
        })

    def elaborate(self, _platform):
        m = Module()
        self._read(m)
        self._write(m)
        return m

    def _read(self, m):
        core, link, bus = self.core_read, self.link_read, self.read
        request, valid, step = Signal(AR, reset_less=True), Signal(), Signal()
        m.d.comb += [
            step.eq(~valid | bus.ar.ready),
            bus.ar.valid.eq(valid),
            bus.ar.p.eq(request),
            link.ar.ready.eq(step),
            core.ar.ready.eq(step & ~link.ar.valid),
        ]
        with m.If(step):
            m.d.sync += [valid.eq(core.ar.valid | link.ar.valid), request.eq(core.ar.p)]
            with m.If(link.ar.valid):
                m.d.sync += [request.eq(link.ar.p), request.id.eq(_LINK_ID)]
        ours = bus.r.p.id == _LINK_ID
        m.d.comb += [
            core.r.p.eq(bus.r.p),
            link.r.p.eq(bus.r.p),
            core.r.valid.eq(bus.r.valid & ~ours),
            link.r.valid.eq(bus.r.valid & ours),
            bus.r.ready.eq(Mux(ours, link.r.ready, core.r.ready)),
        ]

    def _write(self, m):
        core, link, bus = self.core_write, self.link_write, self.write
        request, valid, step = Signal(AW, reset_less=True), Signal(), Signal()
        unanswered, unsent = Signal(_COUNT_BITS), Signal(_COUNT_BITS)  # bursts
        ours = Signal()  # the link's write is under way
        room, take_core, take_link = Signal(), Signal(), Signal()
        m.d.comb += [
            step.eq(~valid | bus.aw.ready),
            bus.aw.valid.eq(valid),
            bus.aw.p.eq(request),
            room.eq(~unanswered.all() & ~ours),
            take_link.eq(step & link.aw.valid & (unanswered == 0)),
            take_core.eq(step & core.aw.valid & ~link.aw.valid & room),
            link.aw.ready.eq(take_link),
            core.aw.ready.eq(take_core),
        ]
        with m.If(step):
            m.d.sync += [valid.eq(take_core | take_link), request.eq(Mux(take_link, link.aw.p, core.aw.p))]
        sent = Signal()
        answered = Signal()
        m.d.comb += [
            bus.w.p.eq(Mux(ours, link.w.p, core.w.p)),
            bus.w.valid.eq(Mux(ours, link.w.valid, core.w.valid) & (unsent != 0)),
            core.w.ready.eq(bus.w.ready & ~ours & (unsent != 0)),
            link.w.ready.eq(bus.w.ready & ours & (unsent != 0)),
            sent.eq(bus.w.valid & bus.w.ready & bus.w.p.last),
            core.b.p.eq(bus.b.p),
            link.b.p.eq(bus.b.p),
            core.b.valid.eq(bus.b.valid & ~ours),
            link.b.valid.eq(bus.b.valid & ours),
            bus.b.ready.eq(Mux(ours, link.b.ready, core.b.ready)),
            answered.eq(bus.b.valid & bus.b.ready),
        ]
        m.d.sync += [
            unanswered.eq(unanswered + (take_core | take_link) - answered),
            unsent.eq(unsent + (take_core | take_link) - sent),
        ]
        with m.If(take_link):
            m.d.sync += ours.eq(1)
        with m.If(ours & answered):
            m.d.sync += ours.eq(0)
        return m

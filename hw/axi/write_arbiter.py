"""Several AXI4 write managers on one set of write channels."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib.wiring import Component, In, Out

from hw.axi.signature import AXIWrite

__all__ = ["AxiWriteArbiter"]

_COUNT_BITS = 8  # of bursts under way


class AxiWriteArbiter(Component):
    """Merges write managers, the lowest-numbered one first.

    Answers come in order and without an id, so a master's bursts wait until all of another's are answered. Addresses
    pass one register, one per cycle; data follow when their address is there, and pass straight through, as answers do.

    Parameters
    ----------
    word_bits : int
    masters : int

    Members
    -------
    master0, master1, ... : In(AXIWrite(word_bits))
    bus : Out(AXIWrite(word_bits))
    """

    latency = 1  # of an address

    def __init__(self, *, word_bits, masters):
        super().__init__({
            **{f"master{n}": In(AXIWrite(word_bits)) for n in range(masters)},
            "bus": Out(AXIWrite(word_bits)),
        })
        self.masters = [getattr(self, f"master{n}") for n in range(masters)]

    def elaborate(self, _platform):
        m = Module()
        bus = self.bus
        request, valid, step = Signal.like(bus.aw.p, reset_less=True), Signal(), Signal()
        unanswered, unsent = Signal(_COUNT_BITS), Signal(_COUNT_BITS)  # bursts
        owner, asking = Signal(range(len(self.masters))), Signal(range(len(self.masters)))
        take, sent, answered = Signal(), Signal(), Signal()
        for number, master in reversed(list(enumerate(self.masters))):
            with m.If(master.aw.valid):
                m.d.comb += asking.eq(number)
        m.d.comb += [
            step.eq(~valid | bus.aw.ready),
            bus.aw.valid.eq(valid),
            bus.aw.p.eq(request),
            take.eq(step & Cat(master.aw.valid for master in self.masters).any()
                    & Mux(asking == owner, ~unanswered.all(), unanswered == 0)),
            sent.eq(bus.w.valid & bus.w.ready & bus.w.p.last),
            answered.eq(bus.b.valid & bus.b.ready),
        ]  # fmt: skip
        with m.If(step):
            m.d.sync += [valid.eq(take), request.eq(Array(master.aw.p for master in self.masters)[asking])]
        with m.If(take):
            m.d.sync += owner.eq(asking)
        m.d.sync += [unanswered.eq(unanswered + take - answered), unsent.eq(unsent + take - sent)]
        for number, master in enumerate(self.masters):
            mine, open_ = owner == number, unsent != 0
            m.d.comb += [
                master.aw.ready.eq(take & (asking == number)),
                master.w.ready.eq(bus.w.ready & mine & open_),
                master.b.p.eq(bus.b.p),
                master.b.valid.eq(bus.b.valid & mine),
            ]
            with m.If(mine):
                m.d.comb += [
                    bus.w.p.eq(master.w.p), bus.w.valid.eq(master.w.valid & open_), bus.b.ready.eq(master.b.ready)
                ]  # fmt: skip
        return m

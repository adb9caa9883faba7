"""Several AXI4 read managers on one set of read channels."""

from amaranth import *
from amaranth.lib.wiring import Component, In, Out

from hw.units.ports import AR, AXIRead

__all__ = ["AxiReadArbiter"]


class AxiReadArbiter(Component):
    """Merges read managers; master n's bursts carry id n, and beats of id n return to master n.

    Round robin: after a burst of master n, master n+1 is asked first. Addresses pass one register, one per
    cycle; data pass straight through.

    Parameters
    ----------
    word_bits : int
    masters : int
        2 to 4.

    Members
    -------
    master0, master1, ... : In(AXIRead(word_bits))
        Their ``ar.p.id`` is ignored.
    bus : Out(AXIRead(word_bits))
    """

    def __init__(self, *, word_bits, masters=3):
        if not 2 <= masters <= 4:
            raise ValueError(f"masters must be from 2 to 4, not {masters}")
        super().__init__({
            **{f"master{n}": In(AXIRead(word_bits)) for n in range(masters)},
            "bus": Out(AXIRead(word_bits)),
        })
        self.masters = [getattr(self, f"master{n}") for n in range(masters)]

    def elaborate(self, _platform):
        m = Module()
        count = len(self.masters)
        chosen, previous = Signal(range(count)), Signal(range(count))
        address = Signal(AR, reset_less=True)
        valid, step = Signal(), Signal()
        with m.Switch(previous):
            for n in range(count):
                with m.Case(n):
                    for k in reversed([(n + 1 + k) % count for k in range(count)]):
                        with m.If(self.masters[k].ar.valid):
                            m.d.comb += chosen.eq(k)
        request = Signal.like(address)
        for n, master in enumerate(self.masters):
            with m.If(chosen == n):
                m.d.comb += request.eq(master.ar.p)
        asked = Cat(master.ar.valid for master in self.masters).any()
        m.d.comb += [
            step.eq(~valid | self.bus.ar.ready),
            self.bus.ar.valid.eq(valid),
            self.bus.ar.p.eq(address),
        ]
        with m.If(step):
            m.d.sync += [
                valid.eq(asked),
                address.eq(request),
                address.id.eq(chosen),
            ]
            with m.If(asked):
                m.d.sync += previous.eq(chosen)
        answers = Signal(count)
        for n, master in enumerate(self.masters):
            mine = self.bus.r.p.id == n
            m.d.comb += [
                master.ar.ready.eq(step & (chosen == n)),
                master.r.p.eq(self.bus.r.p),
                master.r.valid.eq(self.bus.r.valid & mine),
                answers[n].eq(master.r.ready & mine),
            ]
        m.d.comb += self.bus.r.ready.eq(answers.any())
        return m

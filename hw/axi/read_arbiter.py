"""Several AXI4 read managers on one set of read channels."""

from functools import reduce
from operator import or_

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
        grant, previous = Signal(count), Signal(count, init=1)  # one-hot
        address = Signal(AR, reset_less=True)
        valid, step = Signal(), Signal()
        for n, master in enumerate(self.masters):
            lost = [rival.ar.valid & _ahead(previous, k, n) for k, rival in enumerate(self.masters) if k != n]
            m.d.comb += grant[n].eq(master.ar.valid & ~Cat(lost).any())
        width = len(address.as_value())
        request = reduce(
            or_, (grant[n].replicate(width) & master.ar.p.as_value() for n, master in enumerate(self.masters))
        )
        m.d.comb += [
            step.eq(~valid | self.bus.ar.ready),
            self.bus.ar.valid.eq(valid),
            self.bus.ar.p.eq(address),
        ]
        with m.If(step):
            m.d.sync += [
                valid.eq(grant.any()),
                address.as_value().eq(request),
                address.id.eq(Cat(Cat(grant[1::2]).any(), Cat(grant[2:]).any())),
            ]
            with m.If(grant.any()):
                m.d.sync += previous.eq(grant)
        answers = Signal(count)
        for n, master in enumerate(self.masters):
            mine = self.bus.r.p.id == n
            m.d.comb += [
                master.ar.ready.eq(step & grant[n]),
                master.r.p.eq(self.bus.r.p),
                master.r.valid.eq(self.bus.r.valid & mine),
                answers[n].eq(master.r.ready & mine),
            ]
        m.d.comb += self.bus.r.ready.eq(answers.any())
        return m


def _ahead(previous, k, n):
    """Whether it is master k's turn before master n's, given the one-hot last winner."""
    count = len(previous)
    return Cat(previous[p] for p in range(count) if (k - p - 1) % count < (n - p - 1) % count).any()

"""Several AXI4 read managers on one set of read channels."""

from functools import reduce
from operator import or_

from amaranth import *
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import ceil_log2

from hw.axi.signature import AXIRead

__all__ = ["AxiReadArbiter"]


class AxiReadArbiter(Component):
    """Merges read managers; master n's bursts carry id n below their own, and beats with it return to master n.

    Round robin: after a burst of master n, master n+1 is asked first. Addresses pass a register (``latency``), one per
    cycle; data pass straight through.

    Parameters
    ----------
    word_bits : int
    masters : int
        2 to 4.
    id_bits : tuple of int
        Of each master; none has any unless said otherwise.

    Members
    -------
    master0, master1, ... : In(AXIRead(word_bits, their id_bits))
    bus : Out(AXIRead(word_bits, bus_id_bits))
    """

    latency = 1

    def __init__(self, *, word_bits, masters=3, id_bits=None):
        if not 2 <= masters <= 4:
            raise ValueError(f"masters must be from 2 to 4, not {masters}")
        id_bits = (0,) * masters if id_bits is None else id_bits
        self._number_bits = ceil_log2(masters)
        self.bus_id_bits = self._number_bits + max(id_bits)
        super().__init__({
            **{f"master{n}": In(AXIRead(word_bits, bits)) for n, bits in enumerate(id_bits)},
            "bus": Out(AXIRead(word_bits, self.bus_id_bits)),
        })
        self.masters = [getattr(self, f"master{n}") for n in range(masters)]

    def elaborate(self, _platform):
        m = Module()
        count = len(self.masters)
        grant, previous = Signal(count), Signal(count, init=1)  # one-hot
        address = Signal.like(self.bus.ar.p, reset_less=True)
        valid, step = Signal(), Signal()
        for n, master in enumerate(self.masters):
            lost = [rival.ar.valid & _ahead(previous, k, n) for k, rival in enumerate(self.masters) if k != n]
            m.d.comb += grant[n].eq(master.ar.valid & ~Cat(lost).any())
        requests = [
            Cat(master.ar.p.address, master.ar.p.last, Const(n, self._number_bits), master.ar.p.id)
            for n, master in enumerate(self.masters)
        ]
        request = reduce(or_, (Mux(grant[n], request, 0) for n, request in enumerate(requests)))
        m.d.comb += [
            step.eq(~valid | self.bus.ar.ready),
            self.bus.ar.valid.eq(valid),
            self.bus.ar.p.eq(address),
        ]
        with m.If(step):
            m.d.sync += [
                valid.eq(grant.any()),
                address.as_value().eq(request),
            ]
            with m.If(grant.any()):
                m.d.sync += previous.eq(grant)
        answers = Signal(count)
        for n, master in enumerate(self.masters):
            answer = self.bus.r.p
            mine = self.bus.r.valid & (answer.id[: self._number_bits] == n)  # without a beat the id says nothing
            m.d.comb += [
                master.ar.ready.eq(step & grant[n]),
                master.r.p.data.eq(answer.data),
                master.r.p.id.eq(answer.id[self._number_bits :]),
                master.r.p.error.eq(answer.error),
                master.r.p.last.eq(answer.last),
                master.r.valid.eq(mine),
                answers[n].eq(master.r.ready & mine),
            ]
        m.d.comb += self.bus.r.ready.eq(answers.any())
        return m


def _ahead(previous, k, n):
    """Whether it is master k's turn before master n's, given the one-hot last winner."""
    count = len(previous)
    return Cat(previous[p] for p in range(count) if (k - p - 1) % count < (n - p - 1) % count).any()

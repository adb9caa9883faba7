"""Which request is next, and what became of the latest ones."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.spec.link import WINDOW

__all__ = ["Session"]

_STATUS_BITS = 4


class Session(wiring.Component):
    """Numbers requests, so that each one is executed once and in order.

    Members
    -------
    sequence : In(16)
        Of the request at hand. What is said of it comes a cycle later.
    hello : In(1)
        Opens a session: `sequence` + 1 comes next. The same HELLO again changes nothing.
    done : In(1), status : In(4)
        The request at hand has been executed.
    opened, current, repeated : Out(1)
        There is a session; the request is the next one; it is one of the `WINDOW` before and was executed in this
        session.
    past : Out(4)
        Status of a repeated request.
    expected : Out(16)
        Number of the next request.
    """

    def __init__(self):
        super().__init__({
            "sequence": In(16),
            "hello": In(1),
            "done": In(1),
            "status": In(_STATUS_BITS),
            "opened": Out(1),
            "current": Out(1),
            "repeated": Out(1),
            "past": Out(_STATUS_BITS),
            "expected": Out(16),
        })

    def elaborate(self, _platform):
        m = Module()
        m.submodules.statuses = statuses = Memory(shape=_STATUS_BITS, depth=WINDOW, init=[])
        record, recall = statuses.write_port(), statuses.read_port(domain="comb")
        first = Signal(16, reset_less=True)  # the HELLO's
        expected = Signal(16, reset_less=True)
        behind = Signal(16)
        known = Signal(range(WINDOW + 1), reset_less=True)  # requests executed, as far as they are remembered
        m.d.comb += [
            behind.eq(expected - self.sequence),
            self.expected.eq(expected),
            record.addr.eq(self.sequence),
            record.data.eq(self.status),
            record.en.eq(self.done),
            recall.addr.eq(self.sequence),
            self.past.eq(recall.data),
        ]
        m.d.sync += [self.current.eq(behind == 0), self.repeated.eq((behind != 0) & (behind <= known))]
        with m.If(self.done):
            m.d.sync += [expected.eq(expected + 1), known.eq(Mux(known == WINDOW, WINDOW, known + 1))]
        with m.If(self.hello & ~(self.opened & (self.sequence == first))):
            m.d.sync += [self.opened.eq(1), first.eq(self.sequence), expected.eq(self.sequence + 1), known.eq(0)]
        return m

"""The largest result of every row, as the results pass by."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ResultMax"]


class ResultMax(wiring.Component):
    """Maximum of the elements from one ``last`` to the next, one per cycle; it never stalls.

    Members
    -------
    i : In({"valid", "x", "last"})
        An int8 element.
    o : Out({"valid", "x"})
        `latency` cycles after a row's last element: the row's maximum, for one cycle.
    """

    latency = 1

    def __init__(self):
        super().__init__({
            "i": In(data.StructLayout({"valid": 1, "x": signed(8), "last": 1})),
            "o": Out(data.StructLayout({"valid": 1, "x": signed(8)})),
        })

    def elaborate(self, _platform):
        m = Module()
        best = Signal(signed(8), reset_less=True)
        begin = Signal(init=1)  # the next element is the first of its row
        larger = Signal()
        m.d.comb += [larger.eq(begin | (self.i.x > best)), self.o.x.eq(best)]
        m.d.sync += self.o.valid.eq(self.i.valid & self.i.last)
        with m.If(self.i.valid):
            m.d.sync += [best.eq(Mux(larger, self.i.x, best)), begin.eq(self.i.last)]
        return m

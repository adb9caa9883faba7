"""The largest result of every row, as the results pass by."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.units.ports import lanes_of

__all__ = ["ResultMax"]


class ResultMax(wiring.Component):
    """Maximum of the elements from one ``last`` to the next, `lanes` of them per cycle; it never stalls.

    Parameters
    ----------
    lanes : int
        A power of two.

    Members
    -------
    i : In({"valid", "x", "mask", "last"})
        int8 elements; those without a one in the mask, never all of them, do not count.
    o : Out({"valid", "x"})
        `latency` cycles after a row's last elements: the row's maximum, for one cycle.
    """

    def __init__(self, *, lanes):
        self.lanes = lanes
        self.latency = 1 + exact_log2(lanes)
        beat = {"valid": 1, "x": lanes_of(lanes, signed(8)), "mask": lanes, "last": 1}
        super().__init__({
            "i": In(data.StructLayout(beat)),
            "o": Out(data.StructLayout({"valid": 1, "x": signed(8)})),
        })

    def elaborate(self, _platform):
        m = Module()
        values = [Mux(there, x, -128) for there, x in zip(self.i.mask, self.i.x, strict=True)]
        valid, last = self.i.valid, self.i.last
        while len(values) > 1:  # a stage for every halving
            halves = []
            for number, (a, b) in enumerate(zip(values[::2], values[1::2], strict=True)):
                larger = Signal(signed(8), name=f"larger{len(values)}_{number}", reset_less=True)
                m.d.sync += larger.eq(Mux(a > b, a, b))
                halves.append(larger)
            there, end = Signal(name=f"valid{len(values)}"), Signal(name=f"last{len(values)}", reset_less=True)
            m.d.sync += [there.eq(valid), end.eq(last)]
            values, valid, last = halves, there, end

        best = Signal(signed(8), reset_less=True)
        begin = Signal(init=1)  # the next element is the first of its row
        larger = Signal()
        m.d.comb += [larger.eq(begin | (values[0] > best)), self.o.x.eq(best)]
        m.d.sync += self.o.valid.eq(valid & last)
        with m.If(valid):
            m.d.sync += [best.eq(Mux(larger, values[0], best)), begin.eq(last)]
        return m

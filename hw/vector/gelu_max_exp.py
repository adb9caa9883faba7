"""The exponential of a row's maximum, once per row, one subtraction and one shift at a time."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["TERMS", "GeluMaxExp"]

TERMS = 23
SHIFT_MAX = (
    31  # a mantissa of at least 2, shifted by 31 and back by one, saturates; larger shifts need not be told apart
)


class GeluMaxExp(wiring.Component):
    """Computes :func:`arith.gelu_max_exp` of a row's maximum, and hands it on with what it belongs to.

    With d = -row_max, n = -(d + (d >> 1) - (d >> 4)) is brought into 0..i0-1 by subtracting or, for negative maxima,
    adding i0, once per cycle, while the shift 23 - q counts down or up from 23; then 2*i0 - n is shifted, once per
    cycle. The result is offered ``latency`` cycles after its row was taken, whatever the maximum, and the next row is
    taken in the cycle after the result left.

    Members
    -------
    i : {"row_max", "i0"}
    o : {"row_max", "i0", "exp"}
    """

    latency = 4 + SHIFT_MAX - TERMS + SHIFT_MAX  # what a very negative maximum takes

    def __init__(self):
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({"row_max": signed(8), "i0": 10}))),
            "o": Out(stream.Signature(self.row_layout())),
        })

    @staticmethod
    def row_layout():
        """A row and its EM."""
        return data.StructLayout({"row_max": signed(8), "i0": 10, "exp": 31})

    def elaborate(self, _platform):
        m = Module()

        row = Signal.like(self.i.p, reset_less=True)
        n = Signal(signed(11), reset_less=True)
        shift = Signal(range(SHIFT_MAX + 1), reset_less=True)
        power = Signal(32, reset_less=True)
        over = Signal(reset_less=True)
        left = Signal(range(self.latency))  # cycles until the result is due
        down = Signal()  # n holds i0 once more
        up = Signal()
        rest = Signal(signed(12))
        d = Signal(signed(9))
        step = Cat(row.i0 ^ (~n[-1]).replicate(len(row.i0)), ~n[-1])  # i0, or -i0 - 1
        m.d.comb += [
            d.eq(-row.row_max),
            rest.eq((Cat(1, n).as_signed() + Cat(~n[-1], step).as_signed()) >> 1),  # one carry chain
            down.eq((n >= 0) & (rest >= 0) & (shift != 0)),
            up.eq((n < 0) & (shift != SHIFT_MAX)),
            self.o.p.row_max.eq(row.row_max),
            self.o.p.i0.eq(row.i0),
            self.o.p.exp.eq(power[1:] | over.replicate(31)),
        ]
        m.d.sync += left.eq(left - 1)
        with m.FSM():
            with m.State("Wait"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [row.eq(self.i.p), left.eq(self.latency - 2)]
                with m.If(self.i.valid):
                    m.next = "Begin"
            with m.State("Begin"):
                m.d.sync += [n.eq(-d - (d >> 1) + (d >> 4)), shift.eq(TERMS), over.eq(0)]
                m.next = "Reduce"
            with m.State("Reduce"):
                m.d.sync += power.eq(Cat(Const(0, 1), row.i0) - Mux(shift == 0, 0, n))
                with m.If(down | up):
                    m.d.sync += [n.eq(rest), shift.eq(Mux(down, shift - 1, shift + 1))]
                with m.Else():
                    m.next = "Shift"
            with m.State("Shift"):
                with m.If(shift != 0):
                    m.d.sync += [power.eq(power << 1), over.eq(over | power[-1]), shift.eq(shift - 1)]
                with m.If(left == 0):
                    m.next = "Deliver"
            with m.State("Deliver"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "Wait"

        return m

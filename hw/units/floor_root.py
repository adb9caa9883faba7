"""The floor of a square root, a digit per cycle."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.spec.timing import Timing

__all__ = ["FloorRoot"]


class FloorRoot(wiring.Component):
    """floor(sqrt(value)), exact, digit by digit: neither a division nor an iteration that has to converge.

    One root at a time: it is offered ``latency`` cycles after its value was taken, and the next value is taken in the
    cycle after it left.

    Parameters
    ----------
    value_bits : int
        Even.

    Members
    -------
    i : value
    o : root, value_bits / 2
    """

    def __init__(self, *, value_bits):
        if value_bits < 2 or value_bits % 2:
            raise ValueError(f"value_bits must be positive and even, not {value_bits}")
        self.value_bits = value_bits
        self.latency = self.timing(value_bits=value_bits).latency
        super().__init__({"i": In(stream.Signature(value_bits)), "o": Out(stream.Signature(value_bits // 2))})

    @staticmethod
    def timing(*, value_bits):
        """A step per digit, and the cycle in which the root is offered."""
        return Timing(latency=value_bits // 2 + 1, interval=value_bits // 2 + 2)

    def elaborate(self, _platform):
        m = Module()
        digits = self.value_bits // 2
        low = Signal(self.value_bits, reset_less=True)  # digits of the value still to come, at the top
        root = Signal(digits, reset_less=True)
        rest = Signal(digits + 1, reset_less=True)  # at most 2 * root
        left = Signal(range(digits))

        shifted = Signal(digits + 3)
        difference = Signal(digits + 4)
        fits = Signal()
        m.d.comb += [
            shifted.eq(Cat(low[-2:], rest)),
            difference.eq(shifted - Cat(1, 0, root)),
            fits.eq(~difference[-1]),
            self.o.payload.eq(root),
        ]
        with m.FSM():
            with m.State("Wait"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += [low.eq(self.i.payload), root.eq(0), rest.eq(0), left.eq(digits - 1)]
                    m.next = "Digit"
            with m.State("Digit"):
                m.d.sync += [
                    low.eq(low << 2),
                    root.eq(Cat(fits, root)),
                    rest.eq(Mux(fits, difference, shifted)),
                    left.eq(left - 1),
                ]
                with m.If(left == 0):
                    m.next = "Deliver"
            with m.State("Deliver"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "Wait"
        return m

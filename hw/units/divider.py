"""Unsigned division, a few quotient bits per cycle."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.spec.timing import Timing

__all__ = ["Divider"]


class Divider(wiring.Component):
    """Quotient and remainder of an unsigned division by restoring subtraction.

    One division at a time: the result is offered ``latency`` cycles after its operands were taken, and the next
    operands are taken in the cycle after the result left. The quotient must fit: dividend < divisor << quotient_bits.

    Parameters
    ----------
    dividend_bits, divisor_bits, quotient_bits : int
    bits_per_cycle : int
        Quotient bits per cycle, as many subtractions in series.

    Members
    -------
    i : {"dividend", "divisor"}
    o : {"quotient", "remainder"}
    soon : Out(1)
        What ``i.ready`` is in the next cycle.
    """

    def __init__(self, *, dividend_bits, divisor_bits, quotient_bits, bits_per_cycle=1):
        if min(dividend_bits, divisor_bits, quotient_bits, bits_per_cycle) < 1:
            raise ValueError("a divider's widths must be positive")
        self.latency = self.timing(quotient_bits=quotient_bits, bits_per_cycle=bits_per_cycle).latency
        self.steps = self.latency - 1
        self.bits_per_cycle = bits_per_cycle
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({"dividend": dividend_bits, "divisor": divisor_bits}))),
            "o": Out(stream.Signature(data.StructLayout({"quotient": quotient_bits, "remainder": divisor_bits}))),
            "soon": Out(1),
        })

    @staticmethod
    def timing(*, quotient_bits, bits_per_cycle=1):
        """A step per group of quotient bits, and the cycle in which the result is offered."""
        steps = -(-quotient_bits // bits_per_cycle)
        return Timing(latency=steps + 1, interval=steps + 2)

    def elaborate(self, _platform):
        m = Module()

        divisor = Signal.like(self.i.p.divisor, reset_less=True)
        remainder = Signal(len(divisor), reset_less=True)
        low = Signal(self.steps * self.bits_per_cycle, reset_less=True)  # dividend out at the top, quotient in below
        left = Signal(range(self.steps))
        load = Signal()
        subtract = Signal()

        rest, digits = remainder, []
        for bit in range(self.bits_per_cycle):
            shifted = Cat(low[-1 - bit], rest)
            difference = Signal(len(divisor) + 2, name=f"difference{bit}")
            rest = Signal(len(divisor), name=f"rest{bit}")
            m.d.comb += [
                difference.eq(shifted - divisor),
                rest.eq(Mux(difference[-1], shifted, difference)),
            ]
            digits.insert(0, ~difference[-1])

        with m.If(load):
            m.d.sync += [
                divisor.eq(self.i.p.divisor),
                remainder.eq(self.i.p.dividend >> len(low)),
                low.eq(self.i.p.dividend),
                left.eq(self.steps - 1),
            ]
        with m.Elif(subtract):
            m.d.sync += [remainder.eq(rest), low.eq(Cat(*digits, low)), left.eq(left - 1)]
        m.d.comb += [self.o.p.quotient.eq(low), self.o.p.remainder.eq(remainder)]

        idle = Signal(init=1)  # in state Wait
        m.d.comb += [self.i.ready.eq(idle), self.soon.eq(Mux(idle, ~self.i.valid, self.o.valid & self.o.ready))]
        m.d.sync += idle.eq(self.soon)
        with m.FSM():
            with m.State("Wait"):
                with m.If(self.i.valid):
                    m.d.comb += load.eq(1)
                    m.next = "Divide"
            with m.State("Divide"):
                m.d.comb += subtract.eq(1)
                with m.If(left == 0):
                    m.next = "Deliver"
            with m.State("Deliver"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "Wait"

        return m

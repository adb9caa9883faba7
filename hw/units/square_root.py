"""The root iteration of I-LayerNorm, and the row's factor."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.spec.timing import Timing
from hw.units.carry_chain import plus

__all__ = ["FACTOR_BITS", "SquareRoot"]

FACTOR_BITS = 25  # the root is at least 65536 >> 10 = 64
ROUNDS = 10
START = 1 << 16


class SquareRoot(wiring.Component):
    """Computes k = :func:`arith.norm_root` of the value and floor((2**31 - 1) / k), in a fixed number of cycles.

    k = (k + value // k) >> 1, ten times from 65536. The first division is a shift. From then on k >= isqrt(value),
    whatever k was before, so that value // k <= isqrt(value) + 2 has half as many bits as the value and one. One
    non-restoring divider serves the other nine and the factor. The result is offered ``latency`` cycles after
    the value was taken, and the next value is taken in the cycle after the result left.

    Parameters
    ----------
    value_bits : int
        Even, at least 34.
    bits_per_cycle : int
        Quotient bits per cycle, as many additions in series.

    Members
    -------
    i : value
    o : {"root", "factor"}
    """

    def __init__(self, *, value_bits=42, bits_per_cycle=2):
        if value_bits < 34 or value_bits % 2:
            raise ValueError(f"value_bits must be even and at least 34, not {value_bits}")
        self.value_bits = value_bits
        self.root_bits = value_bits - 16  # (2**16 + 2**(value_bits - 16)) >> 1 is below that power
        self.bits_per_cycle = bits_per_cycle
        self.root_steps, self.factor_steps = self._steps(value_bits, bits_per_cycle)
        self.latency = self.timing(value_bits=value_bits, bits_per_cycle=bits_per_cycle).latency
        super().__init__({
            "i": In(stream.Signature(unsigned(value_bits))),
            "o": Out(stream.Signature(data.StructLayout({"root": self.root_bits, "factor": FACTOR_BITS}))),
        })

    @staticmethod
    def _steps(value_bits, bits_per_cycle):
        """Cycles of a division of a round, and of the one for the factor."""
        return -(-(value_bits // 2 + 1) // bits_per_cycle), -(-FACTOR_BITS // bits_per_cycle)

    @staticmethod
    def timing(*, value_bits=42, bits_per_cycle=2):
        """An update before every division; the first round has none."""
        root, factor = SquareRoot._steps(value_bits, bits_per_cycle)
        latency = 1 + ROUNDS + (ROUNDS - 1) * root + factor
        return Timing(latency=latency, interval=latency + 1)

    def elaborate(self, _platform):
        m = Module()

        value = Signal(self.value_bits, reset_less=True)
        root = Signal(self.root_bits, reset_less=True)
        # -root <= rest < root, its sign inverted: so it is the quotient's digit and the carry of the next sum
        rest = Signal(self.root_bits + 1, reset_less=True)
        root_digits = self.root_steps * self.bits_per_cycle
        factor_digits = self.factor_steps * self.bits_per_cycle
        low = Signal(max(root_digits, factor_digits), reset_less=True)  # dividend out at the top, quotient in below
        rounds = Signal(range(ROUNDS))
        left = Signal(range(max(self.root_steps, self.factor_steps)))
        update = Signal()
        divide = Signal()
        final = Signal()

        rest_next, digits = rest, []
        for bit in range(self.bits_per_cycle):
            shifted = Cat(low[-1 - bit], rest_next)[: len(rest)]
            positive = rest_next[-1]
            operand = Cat(Cat(b ^ positive for b in root), ~positive)
            total = Signal(len(rest), name=f"total{bit}")
            m.d.comb += total.eq(plus(shifted, operand, positive))
            rest_next = total
            digits.insert(0, rest_next[-1])

        m.d.comb += final.eq(rounds == ROUNDS - 1)
        with m.If(update):
            m.d.sync += [
                root.eq(Mux(rounds == 0, START + (value >> 16), root + low) >> 1),
                rest.eq(Mux(final, (1 << 31) - 1 >> factor_digits, value >> root_digits) | 1 << self.root_bits),
                low.eq(Mux(final, (1 << len(low)) - 1, value[:root_digits] << len(low) - root_digits)),
                left.eq(Mux(final, self.factor_steps - 1, self.root_steps - 1)),
            ]
        with m.Elif(divide):
            m.d.sync += [rest.eq(rest_next), low.eq(Cat(*digits, low)), left.eq(left - 1)]
        m.d.comb += [self.o.p.root.eq(root), self.o.p.factor.eq(low)]

        with m.FSM():
            with m.State("Wait"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += [value.eq(self.i.p), rounds.eq(0)]
                    m.next = "Update"
            with m.State("Update"):
                m.d.comb += update.eq(1)
                m.next = "Divide"
            with m.State("Divide"):
                m.d.comb += divide.eq(1)
                with m.If(left == 0):
                    m.d.sync += rounds.eq(rounds + 1)
                    m.next = "Update"
                    with m.If(final):
                        m.next = "Deliver"
            with m.State("Deliver"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "Wait"

        return m

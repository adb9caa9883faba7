"""floor((2**31 - 1) / s), once per cycle."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.spec.timing import Timing
from hw.units.carry_chain import plus
from hw.units.pipe import Pipe

__all__ = ["QUOTIENT_BITS", "Reciprocal"]

QUOTIENT_BITS = 31


class Reciprocal(wiring.Component):
    """Computes :func:`arith.reciprocal`, floor((2**31 - 1) / divisor), once per cycle, for divisor >= 1.

    Non-restoring: partial remainder i is R = 2R + 1 - s, or + s when R was negative, and quotient bit i is R >= 0.
    The dividend is all ones, so before the first subtraction (while 2**i <= s) R is all ones too, and from then on
    -s <= R < s: i + 2 bits hold partial remainder i. A divisor bit is first needed by the remainder of its own
    length; until then it waits in a shift register. A result leaves ``latency`` cycles after its divisor enters; a
    stalled output stalls the whole pipe.

    Parameters
    ----------
    divisor_bits : int
    bits_per_stage : int
        Quotient bits between two registers.
    tag : shape-like or None
        Side data that leaves with the quotient.

    Members
    -------
    i : {"divisor", "tag" if any}
    o : {"quotient", "tag" if any}
    """

    def __init__(self, *, divisor_bits=31, bits_per_stage=1, tag=None):
        if not 1 <= divisor_bits <= QUOTIENT_BITS:
            raise ValueError(f"divisor_bits must be 1..{QUOTIENT_BITS}, not {divisor_bits}")
        self.bits_per_stage = bits_per_stage
        self.latency = self.timing(bits_per_stage=bits_per_stage).latency
        tags = {} if tag is None else {"tag": tag}
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({"divisor": divisor_bits, **tags}))),
            "o": Out(stream.Signature(data.StructLayout({"quotient": QUOTIENT_BITS, **tags}))),
        })

    @staticmethod
    def timing(*, bits_per_stage=1):
        """A stage per group of quotient bits, behind the one that holds the divisor."""
        return Timing(latency=1 + -(-QUOTIENT_BITS // bits_per_stage))

    def elaborate(self, _platform):
        m = Module()

        pipe = Pipe(m, self.i, self.o, self.latency)
        pipe.carry("tag")
        size = len(self.i.p.divisor)
        short = Cat(~self.i.p.divisor[i + 1 :].any() for i in range(size - 1))  # bit i: divisor < 2**(i + 1)
        divisor = pipe.hold(self.i.p.divisor, "divisor0")
        short = pipe.hold(short, "short0")
        rest = Const(0, 1)
        quotient = Const(0, 0)
        for i in range(QUOTIENT_BITS):
            active = short[i] if i < size - 1 else Const(1)
            rest = self._subtract(m, i, rest, divisor, active)
            quotient = Cat(active & ~rest[-1], quotient)
            if (i + 1) % self.bits_per_stage == 0 or i + 1 == QUOTIENT_BITS:
                rest = pipe.hold(rest, f"rest{i}")
                divisor = pipe.hold(divisor, f"divisor{i + 1}")
                short = pipe.hold(short, f"short{i + 1}")
                quotient = pipe.hold(quotient, f"quotient{i}")
        m.d.comb += self.o.p.quotient.eq(quotient)

        return m

    @staticmethod
    def _subtract(m, i, rest, divisor, active):
        """Partial remainder i; bit 0 and the carry out of it need no adder, for 2R + 1 is odd."""
        width = min(i + 1, len(divisor)) + 1
        positive = ~rest[-1]
        operand = Cat((bit ^ positive) & active for bit in divisor[1 : width - 1])
        operand = Cat(operand, positive & active)
        carry = active & (positive | divisor[0])
        upper = Signal(width - 1, name=f"upper{i}")
        m.d.comb += upper.eq(plus(rest[: width - 1], operand, carry))
        return Cat(~(divisor[0] & active), upper)

"""The exponential of I-ViT: shifts, and a quotient found by a few subtractions."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.spec.timing import Timing
from hw.units.pipe import Pipe

__all__ = ["ShiftExp"]

T_BITS = 13  # 23 * 255 + 8
I0_BITS = 10
FRACTION_BITS = 3  # d << f, f up to 7
MOST_TERMS = 15
SHIFTED_BITS = 14  # of n; what does not fit exceeds terms * i0, at most 15345, and is made to


class ShiftExp(wiring.Component):
    """Computes :func:`arith.shift_exp_parts` of d << fraction once per cycle: E is (mantissa << (terms - q)) >> 1.

    n = (t << fraction) >> 4, t = -23*d, 8 more where d is odd and fraction is 0 (see `hw.spec.vector_ops`), so that the
    shift is behind the sum and saves its carry chain 7 bits. Quotient q = min(n // i0, terms), mantissa = 2*i0 - n +
    q*i0, or 2*i0 where q = terms. The quotient takes one restoring subtraction per bit; all of them succeed when it
    does not fit, so that saturation is a comparison of the quotient. A remainder that i0's bits do not hold is noted
    instead: its quotient is beyond terms. A result leaves ``latency`` cycles after its operands enter; a stalled output
    stalls the whole pipe.

    Parameters
    ----------
    terms : int
        Largest quotient, 15 at most.
    tag : shape-like or None
        Side data that leaves with the result.

    Members
    -------
    i : {"d" in -255..0, "i0" in 1..1023, "fraction" in 0..7, "tag" if any}
    o : {"mantissa", "q", "tag" if any}
    """

    def __init__(self, *, terms, tag=None):
        if not 1 <= terms <= MOST_TERMS:
            raise ValueError(f"terms must be 1..{MOST_TERMS}, not {terms}")
        self.terms = terms
        self.latency = self.timing(terms=terms).latency
        tags = {} if tag is None else {"tag": tag}
        operands = {"d": signed(10), "i0": I0_BITS, "fraction": FRACTION_BITS}
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({**operands, **tags}))),
            "o": Out(stream.Signature(data.StructLayout({"mantissa": 11, "q": 5, **tags}))),
        })

    @staticmethod
    def timing(*, terms):
        """A stage per quotient bit, one for n before them and one for the mantissa behind."""
        return Timing(latency=terms.bit_length() + 2)

    def elaborate(self, _platform):
        m = Module()

        pipe = Pipe(m, self.i, self.o, self.latency)
        pipe.carry("tag")
        n = self._shifted(m, pipe)
        i0 = pipe.hold(self.i.p.i0, "i0")
        q = Const(0, 0)
        beyond = Const(0)
        for bit in reversed(range(self.terms.bit_length())):
            width = len(n) - bit
            difference = Signal(width + 1, name=f"difference{bit}")
            fits = Signal(name=f"fits{bit}")
            m.d.comb += [
                difference.eq(n[bit:] - i0[:width]),
                fits.eq(~difference[-1] & ~i0[width:].any()),
            ]
            if width > I0_BITS:
                beyond = pipe.hold(beyond | (fits & difference[I0_BITS:width].any()), f"beyond{bit}")
                width = I0_BITS
            n = pipe.hold(Cat(n[:bit], Mux(fits, difference[:width], n[bit : bit + width])), f"n{bit}")
            q = pipe.hold(Cat(fits, q), f"q{bit}")
            i0 = pipe.hold(i0, f"i0_{bit}")

        full = Signal()
        m.d.comb += full.eq((q >= self.terms) | beyond)
        mantissa = Cat(Const(0, 1), i0) - Mux(full, 0, n)
        m.d.comb += [
            self.o.p.mantissa.eq(pipe.hold(mantissa[:11], "mantissa")),
            self.o.p.q.eq(pipe.hold(Mux(full, self.terms, q), "q_out")),
        ]

        return m

    def _shifted(self, m, pipe):
        """n of d << fraction; all ones above i0's bits where 14 do not hold it."""
        magnitude = -self.i.p.d
        odd = magnitude[0] & (self.i.p.fraction == 0)
        t = pipe.hold((Cat(Const(0, 3), odd, magnitude[:9]) + (magnitude << 3) - magnitude)[:T_BITS], "t")
        fraction = pipe.hold(self.i.p.fraction, "fraction")
        shifted = Signal(SHIFTED_BITS + 2)
        m.d.comb += shifted.eq((t << fraction) >> 4)
        over = shifted[SHIFTED_BITS:].any()
        return Cat(shifted[:I0_BITS], shifted[I0_BITS:SHIFTED_BITS] | over.replicate(SHIFTED_BITS - I0_BITS))

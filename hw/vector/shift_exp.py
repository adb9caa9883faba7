"""The exponential of I-ViT: shifts, and a quotient found by a few subtractions."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.spec.timing import Timing
from hw.units.pipe import Pipe

__all__ = ["ShiftExp"]

P_BITS = 9  # -p is at most 367, for d = -255


class ShiftExp(wiring.Component):
    """Computes :func:`arith.shift_exp_parts` once per cycle: the exponential is (mantissa << (terms - q)) >> 1.

    With n = -(d + (d >> 1) - (d >> 4)), quotient q = min(n // i0, terms) and mantissa = 2*i0 - n + q*i0, or 2*i0
    where q = terms. The quotient takes one restoring subtraction per bit; all of them succeed when it does not fit,
    so that saturation is a comparison of the quotient. A result leaves ``latency`` cycles after its operands enter;
    a stalled output stalls the whole pipe.

    Parameters
    ----------
    terms : int
        Largest quotient: 15 (Shiftmax) or 23 (ShiftGELU).
    tag : shape-like or None
        Side data that leaves with the result.

    Members
    -------
    i : {"d" in -255..0, "i0" in 1..1023, "tag" if any}
    o : {"mantissa", "q", "tag" if any}
    """

    def __init__(self, *, terms, tag=None):
        if not 1 <= terms <= 31:
            raise ValueError(f"terms must be 1..31, not {terms}")
        self.terms = terms
        self.latency = self.timing(terms=terms).latency
        tags = {} if tag is None else {"tag": tag}
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({"d": signed(10), "i0": 10, **tags}))),
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
        d = self.i.p.d
        n = pipe.hold((-d - (d >> 1) + (d >> 4))[:P_BITS], "n")
        i0 = pipe.hold(self.i.p.i0, "i0")
        q = Const(0, 0)
        for bit in reversed(range(self.terms.bit_length())):
            width = P_BITS - bit
            difference = Signal(width + 1, name=f"difference{bit}")
            fits = Signal(name=f"fits{bit}")
            m.d.comb += [
                difference.eq(n[bit:] - i0[:width]),
                fits.eq(~difference[-1] & ~i0[width:].any()),
            ]
            n = pipe.hold(Cat(n[:bit], Mux(fits, difference[:width], n[bit:])), f"n{bit}")
            q = pipe.hold(Cat(fits, q), f"q{bit}")
            i0 = pipe.hold(i0, f"i0_{bit}")

        full = Signal()
        m.d.comb += full.eq(q >= self.terms)
        mantissa = Cat(Const(0, 1), i0) - Mux(full, 0, n)
        m.d.comb += [
            self.o.p.mantissa.eq(pipe.hold(mantissa[:11], "mantissa")),
            self.o.p.q.eq(pipe.hold(Mux(full, self.terms, q), "q_out")),
        ]

        return m

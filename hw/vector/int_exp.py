"""The exponential of I-BERT: a polynomial of second order, and a quotient found by a few subtractions."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.spec.rivals import EXP_BITS, EXP_TERMS
from hw.units.pipe import Pipe
from hw.units.requantizer import Requantizer

__all__ = ["CONSTANTS", "FRACTION_BITS", "POLYNOMIAL", "Q_BITS", "Z_BITS", "IntExp", "IntPolynomial"]

FRACTION_BITS = 3
M_BITS = 9 + (1 << FRACTION_BITS) - 1  # of row_max - x with its fraction
LN2_BITS, B_BITS, C_BITS = 8, 10, 18
Z_BITS = 20  # |c - r*(b - r)| < 2^19
Q_BITS = EXP_TERMS.bit_length()
POLYNOMIAL = {"ln2": LN2_BITS, "b": B_BITS, "c": C_BITS}
CONSTANTS = {**POLYNOMIAL, "exp_mult": 31, "exp_shift": 5}


class IntPolynomial(wiring.Component):
    """Computes :func:`rivals.int_exp` of m = (row_max - x) << fraction, once per cycle.

    The quotient m // ln2 takes one restoring subtraction per bit; all of them succeed when it does not fit. z takes a
    product of 8 x 11 bits. A result leaves ``latency`` cycles after its operands enter; a stalled output stalls it.

    Parameters
    ----------
    tag : shape-like or None
        Side data that leaves with the result.

    Members
    -------
    constants : {"ln2", "b", "c"}
        Stable while anything is under way.
    i : {"d" in -255..255, x - row_max, "fraction", "tag" if any}
    o : {"z", "q", "tag" if any}
    """

    latency = Q_BITS + 4

    def __init__(self, *, tag=None):
        tags = {} if tag is None else {"tag": tag}
        super().__init__({
            "constants": In(data.StructLayout(POLYNOMIAL)),
            "i": In(stream.Signature(data.StructLayout({"d": signed(10), "fraction": FRACTION_BITS, **tags}))),
            "o": Out(stream.Signature(data.StructLayout({"z": signed(Z_BITS), "q": Q_BITS, **tags}))),
        })

    def elaborate(self, _platform):
        """The shift, a step per bit of the quotient, difference, product and z."""
        m = Module()
        constants = self.constants
        pipe = Pipe(m, self.i, self.o, self.latency)
        pipe.carry("tag")
        n = pipe.hold(((-self.i.p.d)[:9] << self.i.p.fraction)[:M_BITS], "m")
        q = Const(0, 0)
        for bit in reversed(range(Q_BITS)):
            width = M_BITS - bit
            difference = Signal(width + 1, name=f"difference{bit}")
            m.d.comb += difference.eq(n[bit:] - constants.ln2)
            fits = ~difference[-1]
            n = pipe.hold(Cat(n[:bit], Mux(fits, difference[:width], n[bit:])), f"n{bit}")
            q = pipe.hold(Cat(fits, q), f"q{bit}")
        full = Signal()
        m.d.comb += full.eq(q >= EXP_TERMS)
        rest = pipe.hold(Mux(full, 0, n[:LN2_BITS]), "rest")
        b_less = pipe.hold((constants.b - Mux(full, 0, n[:LN2_BITS])).as_signed(), "b_less")
        product = pipe.hold(rest * b_less, "product")
        m.d.comb += [
            self.o.p.z.eq(pipe.hold((constants.c - product)[:Z_BITS].as_signed(), "z")),
            self.o.p.q.eq(pipe.hold(Mux(full, EXP_TERMS, q), "q_out", steps=3)),
        ]
        return m


class IntExp(wiring.Component):
    """Computes :func:`rivals.int_exp16` of m = (row_max - x) << fraction, once per cycle.

    Behind `IntPolynomial`, a product of 20 x 31 bits and a shift by `exp_shift` + q. A result leaves ``latency`` cycles
    after its operands enter; a stalled output stalls everything.

    Parameters
    ----------
    tag : shape-like or None
        Side data that leaves with the result.

    Members
    -------
    constants : {"ln2", "b", "c", "exp_mult", "exp_shift"}
        Stable while anything is under way.
    i : {"d" in -255..255, x - row_max, "fraction", "tag" if any}
    o : {"exp", "tag" if any}
    """

    latency = IntPolynomial.latency + Requantizer.latency

    def __init__(self, *, tag=None):
        tags = {} if tag is None else {"tag": tag}
        self._polynomial = IntPolynomial(tag=tag)
        self._requantizer = Requantizer(
            value_bits=Z_BITS, mult_bits=31, shift_bits=6, out_bits=EXP_BITS, mult_signed=False, tag=tag
        )
        super().__init__({
            "constants": In(data.StructLayout(CONSTANTS)),
            "i": In(stream.Signature(self._polynomial.i.p.shape())),
            "o": Out(stream.Signature(data.StructLayout({"exp": EXP_BITS - 1, **tags}))),
        })

    def elaborate(self, _platform):
        m = Module()
        m.submodules.polynomial = polynomial = self._polynomial
        m.submodules.requantizer = requantizer = self._requantizer
        into, found = requantizer.i, requantizer.o
        wiring.connect(m, wiring.flipped(self.i), polynomial.i)
        m.d.comb += [polynomial.constants[name].eq(self.constants[name]) for name in POLYNOMIAL]
        m.d.comb += [
            into.valid.eq(polynomial.o.valid),
            polynomial.o.ready.eq(into.ready),
            into.payload.value.eq(polynomial.o.p.z),
            into.payload.mult.eq(self.constants.exp_mult),
            into.payload.shift.eq(self.constants.exp_shift + polynomial.o.p.q),
            self.o.valid.eq(found.valid),
            found.ready.eq(self.o.ready),
            self.o.p.exp.eq(Mux(found.payload.value[-1], 0, found.payload.value)),
        ]
        if "tag" in self.o.p.shape().members:
            m.d.comb += [into.payload.tag.eq(polynomial.o.p.tag), self.o.p.tag.eq(found.payload.tag)]
        return m

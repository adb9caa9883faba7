"""x times its sigmoid for every int8 x of a row whose maximum is known: two exponentials and a division each."""

from itertools import pairwise

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.spec.timing import Timing
from hw.units.pipe import delay
from hw.units.reciprocal import Reciprocal
from hw.units.small_product import product_sum, product_terms
from hw.vector.gelu_max_exp import TERMS, GeluMaxExp

__all__ = ["ENTRIES", "PRODUCT_BITS", "GeluProducts"]

ENTRIES = 256
PRODUCT_BITS = 18
EXP_BITS = TERMS + 10  # E <= i0 << 23
FACTOR_BITS = 30  # both exponentials are at least i0 >= 1, so the divisor is at least 2
LOW_BITS = 17  # of the factor, in the first of two products


class GeluProducts(wiring.Component):
    """Computes x * sigma of ShiftGELU for x = row_max, row_max - 1, ... modulo 2^8, one per cycle, without a gap.

    With m = (row_max - x) modulo 2^8, -p = (23*m + 8*(m & 1)) >> 4 grows by 1 or 2 from one m to the next, so its
    quotient by i0 and the remainder are counted. E is (mantissa << (23 - q)) >> 1; sigma = (E*F) >> 24 is
    (mantissa*F) >> (2 + q), by the argument of `Shiftmax`; F is the reciprocal of E + EM, saturated. A row is taken
    with the last step of the one before. Nothing stalls; the first product of a row leaves ``latency`` cycles after it
    was taken.

    Parameters
    ----------
    products : str
        Where they are, see `product_terms`.

    Members
    -------
    i : {"row_max", "i0", "exp": EM}
    o : Out({"valid", "x", "y": x * sigma, "last"})
    """

    def __init__(self, *, products="dsp"):
        self._products = products
        self.latency = self.timing().latency
        super().__init__({
            "i": In(stream.Signature(GeluMaxExp.row_layout())),
            "o": Out(data.StructLayout({"valid": 1, "x": signed(8), "y": signed(PRODUCT_BITS), "last": 1})),
        })
        self._side = data.StructLayout({"x": signed(8), "last": 1, "mantissa": 11, "q": 5})
        self._reciprocal = Reciprocal(tag=self._side)

    @staticmethod
    def timing():
        """The counters, E + EM, the reciprocal, the products."""
        return Timing(latency=2 + 4 + Reciprocal.timing().latency + 7, interval=ENTRIES)

    def elaborate(self, _platform):
        m = Module()
        m.submodules.reciprocal = self._reciprocal
        self._sum(m, *self._count(m))
        self._multiply(m)
        return m

    def _count(self, m):
        """An element, mantissa and quotient of its exponential, and its row's EM."""
        active, left = Signal(), Signal(range(ENTRIES))
        x, row = Signal(signed(8), reset_less=True), Signal(self.i.p.shape(), reset_less=True)
        rest = Signal(10, reset_less=True)
        q = Signal(5, reset_less=True)
        twice, alone, fits, full = Signal(), Signal(), Signal(), Signal()
        difference = Signal(signed(12))
        m.d.comb += [
            self.i.ready.eq(~active | (left == 0)),
            twice.eq(left[0] & (left[1:4] != 7)),  # m = 255 - left is even, but no multiple of 16
            alone.eq(row.i0 == 1),
            difference.eq(rest - row.i0 + 1 + twice),
            fits.eq(difference >= 0),
            full.eq(q >= TERMS),
        ]
        m.d.sync += [
            x.eq(x - 1),
            left.eq(left - 1),
            rest.eq(Mux(fits, Mux(alone, 0, difference[:10]), rest + 1 + twice)),
        ]
        with m.If(~full):
            m.d.sync += q.eq(q + fits + (alone & twice))
        with m.If(self.i.ready):
            m.d.sync += [
                active.eq(self.i.valid),
                left.eq(ENTRIES - 1),
                row.eq(self.i.p),
                x.eq(self.i.p.row_max),
                Cat(rest, q).eq(0),
            ]
        valid, side = Signal(), Signal(self._side, reset_less=True)
        exp = Signal.like(row.exp, reset_less=True)
        m.d.sync += [
            valid.eq(active),
            side.x.eq(x),
            side.last.eq(left == 0),
            side.mantissa.eq(Cat(Const(0, 1), row.i0) - Mux(full, 0, rest)),
            side.q.eq(Mux(full, TERMS, q)),
            exp.eq(row.exp),
        ]
        return valid, side, exp

    def _sum(self, m, valid, side, exp):
        """E from its parts, E + EM, saturation."""
        shift = Signal(range(TERMS + 1))
        fine = Signal(14, reset_less=True)
        coarse = Signal(range(TERMS // 4 + 1), reset_less=True)
        power = Signal(EXP_BITS, reset_less=True)
        total = Signal(EXP_BITS + 1, reset_less=True)
        divisor = Signal(31, reset_less=True)
        valids = Signal(4)
        m.d.comb += shift.eq(TERMS - side.q)
        m.d.sync += [
            fine.eq(side.mantissa << shift[:2]),
            coarse.eq(shift[2:]),
            power.eq((fine << Cat(Const(0, 2), coarse)) >> 1),
            total.eq(power + delay(m, exp, 2, "exp")),
            divisor.eq(total[:31] | total[31:].any().replicate(31)),
            valids.eq(Cat(valid, valids)),
        ]
        entry = self._reciprocal.i
        m.d.comb += [
            entry.valid.eq(valids[-1]),
            entry.p.divisor.eq(divisor),
            Value.cast(entry.p.tag).eq(delay(m, side, 4, "side")),
        ]

    def _multiply(self, m):
        """mantissa*F in two products, sigma, x*sigma."""
        quotient = self._reciprocal.o
        sides = [Signal(self._side, name=f"late{k}", reset_less=True) for k in range(7)]
        valid = Signal(7)
        factor = Signal(FACTOR_BITS - LOW_BITS, reset_less=True)
        low = Signal(LOW_BITS + 11, reset_less=True)
        product = Signal(FACTOR_BITS + 11, reset_less=True)
        window = Signal(16, reset_less=True)
        sigma = Signal(9, reset_less=True)  # i0/2 at most
        y = Signal(signed(PRODUCT_BITS), reset_less=True)
        mantissa = quotient.p.tag.mantissa
        lows = product_terms(m, mantissa, quotient.p.quotient[:LOW_BITS], "lows", place=self._products)
        highs = product_terms(m, sides[0].mantissa, factor, "highs", place=self._products)
        ys = product_terms(m, sides[4].x, sigma, "ys", place=self._products)
        high = product_sum(m, highs, FACTOR_BITS + 11 - LOW_BITS, "high", low[LOW_BITS:])
        m.d.comb += [
            quotient.ready.eq(1),
            self.o.valid.eq(valid[-1]),
            self.o.x.eq(sides[-1].x),
            self.o.y.eq(y),
            self.o.last.eq(sides[-1].last),
        ]
        m.d.sync += [
            valid.eq(Cat(quotient.valid, valid)),
            *(after.eq(before) for before, after in pairwise([quotient.p.tag, *sides])),
            factor.eq(quotient.p.quotient[LOW_BITS:]),
            low.eq(product_sum(m, lows, len(low), "low")),
            product.eq(Cat(low[:LOW_BITS], high)),
            window.eq(product >> Cat(Const(2, 3), sides[2].q[3:])),
            sigma.eq(window >> sides[3].q[:3]),
            y.eq(product_sum(m, ys, PRODUCT_BITS, "y")),
        ]

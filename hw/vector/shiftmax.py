"""Second pass of Shiftmax: probabilities."""

from amaranth import *
from amaranth.lib import data

from hw.spec.timing import Timing
from hw.spec.vector_ops import FACTOR_BITS
from hw.units.pipe import Pipe
from hw.units.small_product import product_sum, product_terms
from hw.vector.exponentials import feed
from hw.vector.row_join import RowJoin
from hw.vector.row_unit import RowUnit
from hw.vector.shift_exp import FRACTION_BITS, ShiftExp

__all__ = ["Shiftmax"]

TERMS = 15


class Shiftmax(RowUnit):
    """Computes :func:`arith.shiftmax_apply`, `lanes` elements per cycle: P = (E*F) >> 16 with ``planes``, else >> 24.

    E = (mantissa << (15 - q)) >> 1 is never formed. P = (mantissa*F) >> (2 + q), or >> (10 + q): while q <= 14 the
    shift of E loses nothing, and at q = 15 the mantissa is 2*i0, even. One 11 x 16 product per lane. Results leave
    ``latency`` cycles after their elements enter, rows without gaps; a stalled output stalls the whole pipe.

    Parameters
    ----------
    lanes : int
    products : str
        Where they are, see `product_terms`.

    Members
    -------
    rows : {"row_max", "i0", "fraction", "factor", "planes"}
        Taken with the first elements of the row. With the row's own factor P fits, otherwise its low bits are right.
    i : {"x", "mask", "last"}
    o : {"x": P, "mask", "last"}
        Zero where the mask is.
    """

    places_products = True

    def __init__(self, *, lanes, max_row=4096, products="dsp"):
        super().__init__(
            lanes=lanes,
            x=signed(8),
            timing=self.timing(max_row=max_row),
            rows={"row_max": signed(8), "i0": 10, "fraction": FRACTION_BITS, "factor": FACTOR_BITS, "planes": 1},
            results=16,
        )
        self._products = products
        self._side = data.StructLayout({"factor": FACTOR_BITS, "planes": 1, "mask": lanes, "last": 1})
        self._exps = [ShiftExp(terms=TERMS, tag=self._side if lane == 0 else None) for lane in range(lanes)]
        self._join = RowJoin(row=self.rows.p.shape(), element=self.i.p.shape())

    @staticmethod
    def timing(**_sizes):
        """The exponential; product, two shifts, mask."""
        return Timing(latency=ShiftExp.timing(terms=TERMS).latency + 5)

    def elaborate(self, _platform):
        m = Module()
        row, element = feed(m, self, self._join, self._exps)
        tag, lead = self._exps[0].i.p.tag, self._exps[0].o
        m.d.comb += [
            tag.factor.eq(row.factor),
            tag.planes.eq(row.planes),
            tag.mask.eq(element.mask),
            tag.last.eq(element.last),
        ]
        pipe = Pipe(m, lead, self.o, 5)
        sides = [Signal(self._side, name=f"side{k}", reset_less=True) for k in range(5)]
        with m.If(pipe.step):
            m.d.sync += [after.eq(before) for before, after in zip([lead.p.tag, *sides], sides, strict=False)]
        m.d.comb += [self.o.p.mask.eq(sides[4].mask), self.o.p.last.eq(sides[4].last)]

        for lane, exp in enumerate(self._exps):
            mantissa = Signal(11, name=f"mantissa{lane}", reset_less=True)
            factor = Signal(16, name=f"factor{lane}", reset_less=True)
            q = [Signal(4, name=f"q{lane}_{k}", reset_less=True) for k in range(4)]
            terms = product_terms(m, mantissa, factor, f"terms{lane}", step=pipe.step, place=self._products)
            product = Signal(27, name=f"product{lane}", reset_less=True)
            coarse = Signal(19, name=f"coarse{lane}", reset_less=True)  # 16 bits and a shift of up to 3
            p = Signal(16, name=f"p{lane}", reset_less=True)
            whole = product_sum(m, terms, len(product), f"product{lane}")
            with m.If(pipe.step):
                m.d.sync += [
                    mantissa.eq(exp.o.p.mantissa),
                    factor.eq(lead.p.tag.factor),
                    product.eq(whole),
                    *(after.eq(before) for before, after in zip([exp.o.p.q, *q], q, strict=False)),
                    coarse.eq(product >> (Mux(sides[2].planes, 2, 10) + Cat(Const(0, 2), q[2][2:]))),
                    p.eq(Mux(sides[3].mask[lane], coarse >> q[3][:2], 0)),
                ]
            m.d.comb += self.o.p.x[lane].eq(p)
            if lane:  # that of lane 0 is the pipe's
                m.d.comb += exp.o.ready.eq(pipe.step)

        return m

"""Second pass of I-LayerNorm: centred, scaled and biased elements."""

from amaranth import *

from hw.spec.memory import BIAS_BITS
from hw.spec.timing import Timing
from hw.spec.vector_ops import NORMALIZED_BITS
from hw.units.pipe import Pipe
from hw.units.ports import lanes_of
from hw.units.small_product import product_sum, product_terms
from hw.vector.row_unit import RowUnit

__all__ = ["LayerNorm"]


class LayerNorm(RowUnit):
    """Computes :func:`arith.normalize`, z = (((x - mean) * factor) >> 1) + bias, `lanes` elements per cycle.

    With y = x - mean and F = 2*h + f: (y*F) >> 1 = (2*y*h + y*f) >> 1 = y*h + ((y >> 1) if f else 0), an unsigned 24 by
    signed 17 product and an addend: one DSP48E1 per lane, which adds too, unless `products` says otherwise (see
    `product_terms`). z is right modulo 2**35. A result leaves ``latency`` cycles after its elements enter; a stalled
    output stalls the whole pipe.

    Members
    -------
    i : {"x", "mask", "last", "mean", "factor", "bias", "tag" if any}
    o : {"x": z, "mask", "last", "tag" if any}
    """

    latency = 4
    places_products = True

    def __init__(self, *, lanes, max_row=4096, tag=None, products="dsp"):
        super().__init__(
            lanes=lanes,
            x=signed(16),
            timing=self.timing(max_row=max_row),
            beat={"mean": signed(17), "factor": 25, "bias": lanes_of(lanes, signed(BIAS_BITS))},
            results=signed(NORMALIZED_BITS),
            tag=tag,
        )
        self._products = products

    @staticmethod
    def timing(**_sizes):
        """Difference, operands, product, sum."""
        return Timing(latency=LayerNorm.latency)

    def elaborate(self, _platform):
        m = Module()

        pipe = Pipe(m, self.i, self.o, self.latency)
        for field in ("mask", "last", "tag"):
            pipe.carry(field)
        factor = pipe.hold(self.i.p.factor, "factor")
        for lane in range(self.lanes):
            difference = Signal(signed(17), name=f"difference{lane}", reset_less=True)
            bias = Signal(signed(BIAS_BITS), name=f"bias{lane}", reset_less=True)
            y = Signal(signed(17), name=f"y{lane}", reset_less=True)
            half = Signal(24, name=f"half{lane}", reset_less=True)
            addend = [Signal(signed(NORMALIZED_BITS), name=f"addend{lane}_{k}", reset_less=True) for k in range(2)]
            terms = product_terms(m, y, half, f"product{lane}", step=pipe.step, place=self._products)
            z = Signal(signed(NORMALIZED_BITS), name=f"z{lane}", reset_less=True)
            result = product_sum(m, terms, NORMALIZED_BITS, f"z{lane}", addend[1])
            with m.If(pipe.step):
                m.d.sync += [
                    difference.eq(self.i.p.x[lane] - self.i.p.mean),
                    bias.eq(self.i.p.bias[lane]),
                    y.eq(difference),
                    half.eq(factor >> 1),
                    addend[0].eq(bias + Mux(factor[0], difference >> 1, 0)),
                    addend[1].eq(addend[0]),
                    z.eq(result),
                ]
            m.d.comb += self.o.p.x[lane].eq(z)

        return m

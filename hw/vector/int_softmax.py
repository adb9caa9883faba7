"""Second pass of I-BERT's softmax: probabilities."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data

from hw.spec.rivals import FACTOR_MOST
from hw.spec.timing import Timing
from hw.units.pipe import Pipe
from hw.vector.exponentials import feed
from hw.vector.int_exp import CONSTANTS, FRACTION_BITS, IntExp
from hw.vector.row_join import RowJoin
from hw.vector.row_unit import RowUnit

__all__ = ["IntSoftmax"]

FACTOR_BITS = FACTOR_MOST.bit_length()
P_BITS = 9  # of any factor; with the row's own at most 256


class IntSoftmax(RowUnit):
    """Computes P of :func:`rivals.int_probability`, `lanes` elements per cycle, or 8 bits of P / 2^halve.

    Results leave ``latency`` cycles after their elements enter, rows without gaps; a stalled output stalls everything.

    Parameters
    ----------
    lanes : int

    Members
    -------
    operands : constants of `IntExp`, "halve", "planes"
    rows : {"row_max", "fraction", "factor"}
        Taken with the first elements of the row.
    i : {"x", "mask", "last"}
    o : {"x", "mask", "last"}
        Zero where the mask is.
    """

    def __init__(self, *, lanes, max_row=4096):
        super().__init__(
            lanes=lanes,
            x=signed(8),
            timing=self.timing(max_row=max_row),
            rows={"row_max": signed(8), "fraction": FRACTION_BITS, "factor": FACTOR_BITS},
            operands={**CONSTANTS, "halve": 1, "planes": 1},
            results=signed(16),
        )
        self._side = data.StructLayout({"factor": FACTOR_BITS, "mask": lanes, "last": 1})
        self._exps = [IntExp(tag=self._side if lane == 0 else None) for lane in range(lanes)]
        self._join = RowJoin(row=self.rows.p.shape(), element=self.i.p.shape())

    @staticmethod
    def timing(**_sizes):
        """The exponential; its product with the factor and a register behind it, the rounding, the mask."""
        return Timing(latency=IntExp.latency + 4)

    def elaborate(self, _platform):
        m = Module()
        row, element = feed(m, self, self._join, self._exps)
        lead = self._exps[0]
        m.d.comb += [
            lead.i.p.tag.factor.eq(row.factor),
            lead.i.p.tag.mask.eq(element.mask),
            lead.i.p.tag.last.eq(element.last),
        ]
        pipe = Pipe(m, lead.o, self.o, 4)
        mask = pipe.hold(lead.o.p.tag.mask, "mask", steps=3)
        m.d.comb += [
            self.o.p.mask.eq(pipe.hold(mask, "mask_out")),
            self.o.p.last.eq(pipe.hold(lead.o.p.tag.last, "last", steps=4)),
        ]
        for lane, exp in enumerate(self._exps):
            if lane:  # that of lane 0 is the pipe's
                m.d.comb += exp.o.ready.eq(pipe.step)
            product = pipe.hold(exp.o.p.exp * lead.o.p.tag.factor, f"product{lane}", steps=2)
            p = Signal(P_BITS, name=f"p{lane}")
            m.d.comb += p.eq(product >> 24)
            half = (p >> 1) + (p[0] & p[1])
            byte = Mux(self.operands.halve, half, p)
            byte = Mux(byte >= 128, 127, byte)
            result = pipe.hold(Mux(self.operands.planes, p, byte)[:P_BITS], f"result{lane}")
            m.d.comb += self.o.p.x[lane].eq(pipe.hold(Mux(mask[lane], result, 0)[:P_BITS], f"x{lane}"))
        return m

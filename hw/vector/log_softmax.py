"""Second pass of FQ-ViT's Log-Int-Softmax: powers of two."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data

from hw.spec.rivals import CODES, TOTAL_BITS, TOTAL_LOW
from hw.spec.timing import Timing
from hw.units.pipe import Pipe
from hw.vector.exponentials import feed
from hw.vector.int_exp import FRACTION_BITS, POLYNOMIAL, Q_BITS, IntPolynomial
from hw.vector.row_join import RowJoin
from hw.vector.row_unit import RowUnit

__all__ = ["LogSoftmax"]

FACTOR_BITS = TOTAL_BITS + 5
RATIO_BITS = 38  # of (S << q) >> 29, what does not fit counts as 3*z << 15 or more: z has 19 bits
LOW = 30 - 1 - TOTAL_LOW  # bits of M << (e + q) below z's
OFFSET_BITS = 4


class LogSoftmax(RowUnit):
    """Computes :func:`rivals.log_probability` of an element's code, `lanes` elements per cycle: no division.

    With S = M << (e + 11) and E = z << (30 - q), 2*S against multiples of E is M << (e + q) against those of z << 18.
    The code is found by five comparisons with 3*z, a register behind each. Results leave ``latency`` cycles after their
    elements enter, rows without gaps; a stalled output stalls everything.

    Parameters
    ----------
    lanes : int

    Members
    -------
    operands : {"ln2", "b", "c", "offset", "planes"}
    rows : {"row_max", "fraction", "factor"}
        Taken with the first elements of the row.
    i : {"x", "mask", "last"}
    o : {"x", "mask", "last"}
        Zero where the mask is.
    """

    stages = 2 + 1 + 5 + 1 + 2

    def __init__(self, *, lanes, max_row=4096):
        super().__init__(
            lanes=lanes,
            x=signed(8),
            timing=self.timing(max_row=max_row),
            rows={"row_max": signed(8), "fraction": FRACTION_BITS, "factor": FACTOR_BITS},
            operands={**POLYNOMIAL, "offset": OFFSET_BITS, "planes": 1},
            results=signed(16),
        )
        self._side = data.StructLayout({"factor": FACTOR_BITS, "mask": lanes, "last": 1})
        self._exps = [IntPolynomial(tag=self._side if lane == 0 else None) for lane in range(lanes)]
        self._join = RowJoin(row=self.rows.p.shape(), element=self.i.p.shape())

    @staticmethod
    def timing(**_sizes):
        """The polynomial; two shifts, the sum, five comparisons, the code, its power in two steps."""
        return Timing(latency=IntPolynomial.latency + LogSoftmax.stages)

    def elaborate(self, _platform):
        m = Module()
        row, element = feed(m, self, self._join, self._exps)
        lead = self._exps[0]
        m.d.comb += [
            lead.i.p.tag.factor.eq(row.factor),
            lead.i.p.tag.mask.eq(element.mask),
            lead.i.p.tag.last.eq(element.last),
        ]
        self._pipe = pipe = Pipe(m, lead.o, self.o, self.stages)
        mask = pipe.hold(lead.o.p.tag.mask, "mask", steps=self.stages - 1)
        m.d.comb += [
            self.o.p.mask.eq(pipe.hold(mask, "mask_out")),
            self.o.p.last.eq(pipe.hold(lead.o.p.tag.last, "last", steps=self.stages)),
        ]
        total, more = lead.o.p.tag.factor[:TOTAL_BITS], lead.o.p.tag.factor[TOTAL_BITS:]
        for lane, exp in enumerate(self._exps):
            if lane:  # that of lane 0 is the pipe's
                m.d.comb += exp.o.ready.eq(pipe.step)
            code = self._code(m, exp.o.p.z, exp.o.p.q, total, more, lane)
            power = self._power(m, code, lane)
            m.d.comb += self.o.p.x[lane].eq(pipe.hold(Mux(mask[lane], power, 0)[:15], f"x{lane}"))
        return m

    def _code(self, m, z, q, total, more, lane):
        """The code of z and q, nine steps later; CODES where z is not positive."""
        pipe = self._pipe
        shift = Signal(Q_BITS + 1, name=f"shift{lane}")
        m.d.comb += shift.eq(more + q)
        fine = pipe.hold((total << shift[:3])[: TOTAL_BITS + 7], f"fine{lane}")
        coarse = pipe.hold(shift[3:], f"coarse{lane}")
        wide = Signal(LOW + RATIO_BITS + 32, name=f"wide{lane}")
        m.d.comb += wide.eq(fine << (coarse << 3))
        over = wide[LOW + RATIO_BITS :].any()
        ratio = pipe.hold(wide[LOW : LOW + RATIO_BITS] | over.replicate(RATIO_BITS), f"ratio{lane}")
        sticky = pipe.hold(wide[:LOW].any(), f"sticky{lane}")

        z = pipe.hold(z, f"z{lane}", steps=2)
        positive = pipe.hold(~z[-1] & z.any(), f"positive{lane}", steps=1 + 5)
        z = z[:-1]
        triple = pipe.hold((z << 1) + z, f"triple{lane}")
        rest = pipe.hold(ratio + z, f"rest{lane}")
        up = pipe.hold(ratio >= (z << 1) + z, f"up{lane}", steps=1 + 5)  # 2*S >= 3*E
        tie = pipe.hold((ratio == (z << 2) + z) & ~sticky, f"tie{lane}", steps=1 + 5)  # 2*S = 5*E
        log = Const(0, 0)
        for step in (8, 4, 2, 1):
            fits = Signal(name=f"fits{lane}_{step}")
            m.d.comb += fits.eq(rest[step:] >= triple)
            rest = pipe.hold(Mux(fits, rest[step:], rest), f"rest{lane}_{step}")
            log = pipe.hold(Cat(fits, log), f"log{lane}_{step}")
            triple = pipe.hold(triple, f"triple{lane}_{step}")
        fits = pipe.hold(rest >= triple, f"fits{lane}")
        log = pipe.hold(log, f"log{lane}")
        formula = Mux(fits, log + 1, 0)  # 0..16
        code = Mux(formula == 1, up, Mux((formula == 2) & tie, 1, formula))
        return pipe.hold(Mux(positive, code, CODES)[:5], f"code{lane}")

    def _power(self, m, code, lane):
        """2^(top - code), clamped, a step later."""
        top = self.operands.offset + Mux(self.operands.planes, 15, 7)
        place = Signal(signed(7), name=f"place{lane}")
        m.d.comb += place.eq(top - code)
        most = Mux(self.operands.planes, (1 << 15) - 1, (1 << 7) - 1)
        clamps = place >= Mux(self.operands.planes, 15, 7)
        power = Mux(clamps, most, Const(1, 1) << place[:4])[:15]
        return self._pipe.hold(Mux(place[-1] | code[-1], 0, power), f"power{lane}")

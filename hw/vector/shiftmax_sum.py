"""First pass of Shiftmax: the factor of each row."""

from amaranth import *
from amaranth.lib import data

from hw.spec.timing import Timing
from hw.spec.vector_ops import FACTOR_BITS
from hw.units.divider import Divider
from hw.vector.exponentials import feed
from hw.vector.row_join import RowJoin
from hw.vector.row_unit import RowUnit
from hw.vector.shift_exp import FRACTION_BITS, ShiftExp

__all__ = ["ShiftmaxSum"]

TERMS = 15
EXP_BITS = TERMS + 10  # E <= i0 << 15
TOTAL_BITS = 31
START_BITS = 22  # 4095 masked elements of I0 <= 1023


class ShiftmaxSum(RowUnit):
    """Computes :func:`arith.shiftmax_sum` of each row, `lanes` elements per cycle; its sum begins with ``start``.

    A row's division runs while the next row streams in; a row that ends within ``row_cycles`` of the one before waits
    for it. The factor is offered ``latency`` cycles after the row's last elements entered. Saturation of the total
    is a flag that ORs into it. A row with an element equal to its maximum has a factor of 16 bits; of any other the
    factor saturates there, for then every subtraction of the division succeeds.

    Parameters
    ----------
    lanes : int
    max_row : int
        Elements of the longest row, at most 4096; any total of them is exact, for what exceeds 31 bits saturates.

    Members
    -------
    operands : {"start"}
    rows : {"row_max", "i0", "fraction"}
        Taken with the first elements of the row.
    i : {"x", "mask", "last"}
        Elements without a one in the mask do not count.
    o : {"factor"}
    """

    def __init__(self, *, lanes, max_row=4096):
        super().__init__(
            lanes=lanes,
            x=signed(8),
            timing=self.timing(max_row=max_row),
            rows={"row_max": signed(8), "i0": 10, "fraction": FRACTION_BITS},
            operands={"start": START_BITS},
            statistics={"factor": FACTOR_BITS},
        )
        tags = [data.StructLayout({"mask": 1, "last": 1})] + [data.StructLayout({"mask": 1})] * (lanes - 1)
        self._exps = [ShiftExp(terms=TERMS, tag=tag) for tag in tags]
        self._divider = Divider(dividend_bits=TOTAL_BITS, divisor_bits=TOTAL_BITS, quotient_bits=FACTOR_BITS)
        self._join = RowJoin(row=self.rows.p.shape(), element=self.i.p.shape())

    @staticmethod
    def timing(**_sizes):
        """Exponential, sum and total of the last elements, then the division, which the next row's waits for."""
        division = Divider.timing(quotient_bits=FACTOR_BITS)
        latency = ShiftExp.timing(terms=TERMS).latency + 3 + division.latency
        return Timing(latency=latency, interval=division.latency + 1)

    def elaborate(self, _platform):
        m = Module()
        m.submodules.divider = divider = self._divider
        _, element = feed(m, self, self._join, self._exps)
        step = Signal(init=1)  # of all behind the exponentials; ~valid[2] | divider.i.ready, as a register
        m.d.comb += self._exps[0].i.p.tag.last.eq(element.last)
        for lane, exp in enumerate(self._exps):
            m.d.comb += [exp.i.p.tag.mask.eq(element.mask[lane]), exp.o.ready.eq(step)]

        lead = self._exps[0].o
        valid = Signal(3)
        last = Signal(2, reset_less=True)
        exps = [Signal(EXP_BITS, name=f"exp{lane}", reset_less=True) for lane in range(self.lanes)]
        beat = Signal(range(self.lanes * (1 << EXP_BITS)), reset_less=True)
        total = Signal(TOTAL_BITS, reset_less=True)
        over = Signal(reset_less=True)
        begin = Signal(init=1)  # the next beat is the first of its row
        old = Mux(begin, self.operands.start, total)
        sum_ = Signal(TOTAL_BITS + 1)
        m.d.comb += sum_.eq(beat[:TOTAL_BITS] + old)
        m.d.sync += step.eq(divider.soon | (step & ~(valid[1] & last[1])))

        with m.If(step):
            m.d.sync += [
                valid.eq(Cat(lead.valid, valid[0], valid[1] & last[1])),
                last.eq(Cat(lead.p.tag.last, last)),
                beat.eq(sum(exps)),
            ]
            for exp, unit in zip(exps, self._exps, strict=True):
                power = (unit.o.p.mantissa << ~unit.o.p.q[:4]) >> 1
                m.d.sync += exp.eq(Mux(unit.o.p.tag.mask, power, 0))
            with m.If(valid[1]):
                m.d.sync += [
                    total.eq(sum_),
                    over.eq((over & ~begin) | sum_[-1] | beat[TOTAL_BITS:].any()),
                    begin.eq(last[1]),
                ]

        m.d.comb += [
            divider.i.valid.eq(valid[2]),
            divider.i.p.dividend.eq((1 << TOTAL_BITS) - 1),
            divider.i.p.divisor.eq(total | over.replicate(TOTAL_BITS)),
            divider.o.ready.eq(self.o.ready),
            self.o.valid.eq(divider.o.valid),
            self.o.p.factor.eq(divider.o.p.quotient),
        ]

        return m

"""First pass of I-BERT's softmax: the factor of each row."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.utils import ceil_log2

from hw.spec.rivals import EXP_BITS, FACTOR_LEAST, FACTOR_MOST
from hw.spec.timing import Timing
from hw.units.divider import Divider
from hw.vector.exponentials import feed
from hw.vector.int_exp import CONSTANTS, FRACTION_BITS, IntExp
from hw.vector.row_join import RowJoin
from hw.vector.row_unit import RowUnit

__all__ = ["IntSoftmaxSum"]

FACTOR_BITS = FACTOR_MOST.bit_length()
DIVIDEND = 1 << 32


class IntSoftmaxSum(RowUnit):
    """Computes :func:`rivals.int_factor` of each row's exponentials, `lanes` elements per cycle.

    A row's division runs while the next row streams in; a row that ends within ``row_cycles`` of the one before waits
    for it. The factor is offered ``latency`` cycles after the row's last elements entered.

    Parameters
    ----------
    lanes : int
    max_row : int
        Elements of the longest row.

    Members
    -------
    operands : constants of `IntExp`
    rows : {"row_max", "fraction"}
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
            rows={"row_max": signed(8), "fraction": FRACTION_BITS},
            operands=CONSTANTS,
            statistics={"factor": FACTOR_BITS},
        )
        total_bits = EXP_BITS - 1 + ceil_log2(max_row)
        tags = [data.StructLayout({"mask": 1, "last": 1})] + [data.StructLayout({"mask": 1})] * (lanes - 1)
        self._exps = [IntExp(tag=tag) for tag in tags]
        self._divider = Divider(
            dividend_bits=DIVIDEND.bit_length(), divisor_bits=total_bits, quotient_bits=FACTOR_BITS
        )  # fmt: skip
        self._join = RowJoin(row=self.rows.p.shape(), element=self.i.p.shape())

    @staticmethod
    def timing(**_sizes):
        """Exponential, sum and total of the last elements, then the division, which the next row's waits for."""
        division = Divider.timing(quotient_bits=FACTOR_BITS)
        return Timing(latency=IntExp.latency + 3 + division.latency, interval=division.interval)

    def elaborate(self, _platform):
        m = Module()
        m.submodules.divider = divider = self._divider
        _, element = feed(m, self, self._join, self._exps)

        step = Signal(init=1)  # of all behind the exponentials; ~valid[2] | divider.i.ready, as a register
        lead = self._exps[0].o
        valid = Signal(3)  # the last one: the sum of a whole row waits
        last = Signal(2, reset_less=True)
        masked = [Signal(EXP_BITS - 1, name=f"exp{lane}", reset_less=True) for lane in range(self.lanes)]
        beat = Signal(range(self.lanes << EXP_BITS - 1), reset_less=True)
        total = Signal(len(divider.i.p.divisor), reset_less=True)
        begin = Signal(init=1)  # the next beat is the first of its row
        m.d.comb += self._exps[0].i.p.tag.last.eq(element.last)
        m.d.sync += step.eq(divider.soon | (step & ~(valid[1] & last[1])))
        for lane, exp in enumerate(self._exps):
            m.d.comb += [exp.i.p.tag.mask.eq(element.mask[lane]), exp.o.ready.eq(step)]
        with m.If(step):
            m.d.sync += [
                valid.eq(Cat(lead.valid, valid[0], valid[1] & last[1])),
                last.eq(Cat(lead.p.tag.last, last)),
                beat.eq(sum(masked)),
            ]
            for value, exp in zip(masked, self._exps, strict=True):
                m.d.sync += value.eq(Mux(exp.o.p.tag.mask, exp.o.p.exp, 0))
            with m.If(valid[1]):
                m.d.sync += [total.eq(beat + Mux(begin, 0, total)), begin.eq(last[1])]

        m.d.comb += [
            divider.i.valid.eq(valid[2]),
            divider.i.p.dividend.eq(DIVIDEND),
            divider.i.p.divisor.eq(Mux(total[FACTOR_LEAST.bit_length() - 1 :].any(), total, FACTOR_LEAST)),
            divider.o.ready.eq(self.o.ready),
            self.o.valid.eq(divider.o.valid),
            self.o.p.factor.eq(divider.o.p.quotient),
        ]
        return m

"""First pass of FQ-ViT's Log-Int-Softmax: the sum of each row's exponentials, its leading bits."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.utils import ceil_log2

from hw.spec.rivals import EXP_TERMS, TOTAL_BITS, TOTAL_LOW
from hw.spec.timing import Timing
from hw.vector.exponentials import feed
from hw.vector.int_exp import FRACTION_BITS, POLYNOMIAL, Z_BITS, IntPolynomial
from hw.vector.row_join import RowJoin
from hw.vector.row_unit import RowUnit

__all__ = ["LogSoftmaxSum"]

EXP_BITS = Z_BITS - 1 + EXP_TERMS
MOST_SHIFT = 31  # of the leading bits, in 5 bits
FACTOR_BITS = TOTAL_BITS + MOST_SHIFT.bit_length()


class LogSoftmaxSum(RowUnit):
    """Computes :func:`rivals.log_factor` of each row's exponentials, `lanes` elements per cycle: no division.

    A row's sum is shifted to its leading bits, a bit per cycle, while the next row streams in; whatever the sum, that
    takes the same time, and a row that ends within ``row_cycles`` of the one before waits for it. The factor is offered
    ``latency`` cycles after the row's last elements entered.

    Parameters
    ----------
    lanes : int
    max_row : int
        Elements of the longest row, at most 4096.

    Members
    -------
    operands : {"ln2", "b", "c"}
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
            operands=POLYNOMIAL,
            statistics={"factor": FACTOR_BITS},
        )
        self._total_bits = EXP_BITS + ceil_log2(max_row)
        tags = [data.StructLayout({"mask": 1, "last": 1})] + [data.StructLayout({"mask": 1})] * (lanes - 1)
        self._exps = [IntPolynomial(tag=tag) for tag in tags]
        self._join = RowJoin(row=self.rows.p.shape(), element=self.i.p.shape())

    @staticmethod
    def timing(**_sizes):
        """Polynomial, two shifts, sum and total of the last elements, then the row's shifts and their end."""
        return Timing(latency=IntPolynomial.latency + 4 + MOST_SHIFT + 1, interval=MOST_SHIFT + 2)

    def elaborate(self, _platform):
        m = Module()
        _, element = feed(m, self, self._join, self._exps)

        step, taken = Signal(), Signal()
        lead = self._exps[0].o
        valid = Signal(4)  # the last one: the sum of a whole row waits
        last = Signal(3, reset_less=True)
        powers = [Signal(EXP_BITS, name=f"power{lane}", reset_less=True) for lane in range(self.lanes)]
        beat = Signal(range(self.lanes << EXP_BITS), reset_less=True)
        total = Signal(self._total_bits, reset_less=True)
        begin = Signal(init=1)  # the next beat is the first of its row
        m.d.comb += [
            self._exps[0].i.p.tag.last.eq(element.last),
            step.eq(~valid[3] | taken),
        ]
        for lane, exp in enumerate(self._exps):
            m.d.comb += [exp.i.p.tag.mask.eq(element.mask[lane]), exp.o.ready.eq(step)]
        with m.If(step):
            m.d.sync += [
                valid.eq(Cat(lead.valid, valid[:2], valid[2] & last[2])),
                last.eq(Cat(lead.p.tag.last, last)),
                beat.eq(sum(powers)),
            ]
            with m.If(valid[2]):
                m.d.sync += [total.eq(beat + Mux(begin, 0, total)), begin.eq(last[2])]
        for lane, exp in enumerate(self._exps):
            counts = exp.o.p.tag.mask & ~exp.o.p.z[-1]
            shift = Signal(range(EXP_TERMS + 1), name=f"shift{lane}")
            fine = Signal(Z_BITS - 1 + 7, name=f"fine{lane}", reset_less=True)
            coarse = Signal(2, name=f"coarse{lane}", reset_less=True)
            m.d.comb += shift.eq(EXP_TERMS - exp.o.p.q)
            with m.If(step):
                m.d.sync += [
                    fine.eq(Mux(counts, exp.o.p.z[:-1], 0) << shift[:3]),
                    coarse.eq(shift[3:]),
                    powers[lane].eq(fine << (coarse << 3)),
                ]
        self._normalise(m, valid[3], taken, total)
        return m

    def _normalise(self, m, valid, taken, total):
        """The leading bits of the total and how far they were shifted, by as many steps as there can be."""
        rest = Signal(len(total) - TOTAL_LOW, reset_less=True)
        shift = Signal(range(MOST_SHIFT + 1), reset_less=True)
        left = Signal(range(MOST_SHIFT), reset_less=True)
        m.d.comb += self.o.p.factor.eq(Cat(rest[:TOTAL_BITS], shift))
        with m.FSM():
            with m.State("Wait"):
                m.d.comb += taken.eq(1)
                with m.If(valid):
                    m.d.sync += [rest.eq(total >> TOTAL_LOW), shift.eq(0), left.eq(MOST_SHIFT - 1)]
                    m.next = "Shift"
            with m.State("Shift"):
                m.d.sync += left.eq(left - 1)
                with m.If(rest[TOTAL_BITS:].any()):
                    m.d.sync += [rest.eq(rest >> 1), shift.eq(shift + 1)]
                with m.If(left == 0):
                    m.next = "Deliver"
            with m.State("Deliver"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "Wait"

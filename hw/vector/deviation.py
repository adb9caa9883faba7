"""How far the elements of a row are from its mean, and the factor that divides by it: two of I-LayerNorm's rivals."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.utils import ceil_log2

from hw.spec.rivals import DISTANCE_LEAST, L1_NUMERATOR, ROOT_LEAST
from hw.spec.timing import Timing
from hw.units.divider import Divider
from hw.units.floor_root import FloorRoot
from hw.units.pipe import delay
from hw.vector.row_unit import RowUnit

__all__ = ["IntDeviation", "L1Deviation"]

X_BITS, Y_BITS = 16, 17
FACTOR_BITS = 25
SHIFT_BITS = 3


def _at_least(value, least):
    """`value`, but `least`, a power of two, at least: a factor has 25 bits then."""
    return Mux(value[least.bit_length() - 1 :].any(), value, least)


class _Deviation(RowUnit):
    """Sums of rows over what `_distances` makes of x - mean, each given on by `_factor`.

    Parameters
    ----------
    lanes : int
    max_row : int
        Elements of the longest row.

    Members
    -------
    i : {"x", "mask", "last", "mean"}
        Elements without a one in the mask do not count.
    o : {"factor"}
        Offered ``latency`` cycles after the row's last elements entered.
    """

    distance_bits: int
    stages: int  # registers of `_distances`

    def __init__(self, *, lanes, max_row=4096, **more):
        super().__init__(
            lanes=lanes, x=signed(X_BITS), timing=self.timing(max_row=max_row), beat={"mean": signed(Y_BITS)},
            statistics={"factor": FACTOR_BITS}, **more,
        )  # fmt: skip
        self.total_bits = self._total_bits(max_row)

    @classmethod
    def _total_bits(cls, max_row):
        bits = cls.distance_bits + ceil_log2(max_row)
        return bits + bits % 2

    def elaborate(self, _platform):
        m = Module()
        step, ready = Signal(), Signal()
        stages = 1 + self.stages
        valid = Signal(stages + 2)  # the last one: the sum of a whole row waits
        last = Signal(stages + 1, reset_less=True)
        begin = Signal(init=1)  # the next beat is the first of its row
        beat = Signal(range(self.lanes << self.distance_bits), reset_less=True)
        total = Signal(self.total_bits, reset_less=True)
        distances = []
        for lane in range(self.lanes):
            y = Signal(signed(Y_BITS), name=f"y{lane}", reset_less=True)
            with m.If(step):
                m.d.sync += y.eq(Mux(self.i.p.mask[lane], self.i.p.x[lane] - self.i.p.mean, 0))
            distances.append(self._distance(m, y, step, lane))
        m.d.comb += [step.eq(~valid[-1] | ready), self.i.ready.eq(step)]
        with m.If(step):
            m.d.sync += [
                valid.eq(Cat(self.i.valid, valid[:-2], valid[-2] & last[-1])),
                last.eq(Cat(self.i.p.last, last)),
                beat.eq(sum(distances)),
            ]
            with m.If(valid[-2]):
                m.d.sync += [total.eq(beat + Mux(begin, 0, total)), begin.eq(last[-1])]
        m.d.comb += ready.eq(self._factor(m, valid[-1], total))
        return m

    def _divide(self, m, dividend, valid, divisor):
        """Joins the division to ``o``. Returns whether the divisor is taken."""
        m.submodules.divider = divider = Divider(
            dividend_bits=dividend.bit_length(), divisor_bits=len(divisor), quotient_bits=FACTOR_BITS
        )
        m.d.comb += [
            divider.i.valid.eq(valid),
            divider.i.p.dividend.eq(dividend),
            divider.i.p.divisor.eq(divisor),
            divider.o.ready.eq(self.o.ready),
            self.o.valid.eq(divider.o.valid),
            self.o.p.factor.eq(divider.o.p.quotient),
        ]
        return divider.i.ready


class L1Deviation(_Deviation):
    """Computes :func:`rivals.l1_factor` of each row, `lanes` elements per cycle: no multiplier, no root.

    See `_Deviation`.
    """

    distance_bits = X_BITS  # |x - mean| <= 2**16 - 1
    stages = 1

    @staticmethod
    def timing(**_sizes):
        """Difference, distance, their sum, the row's, the division."""
        division = Divider.timing(quotient_bits=FACTOR_BITS)
        return Timing(latency=4 + division.latency, interval=division.interval)

    def _distance(self, m, y, step, lane):
        return delay(m, Mux(y[-1], -y, y)[:X_BITS], 1, f"distance{lane}", step=step)

    def _factor(self, m, valid, total):
        return self._divide(m, L1_NUMERATOR, valid, _at_least(total, DISTANCE_LEAST))


class IntDeviation(_Deviation):
    """Computes :func:`rivals.int_deviation_factor` of each row, `lanes` elements per cycle.

    Members beside those of `_Deviation`
    ------------------------------------
    operands : {"norm_shift"}
    """

    distance_bits = 2 * X_BITS
    stages = 2

    def __init__(self, *, lanes, max_row=4096):
        super().__init__(lanes=lanes, max_row=max_row, operands={"norm_shift": SHIFT_BITS})

    @staticmethod
    def timing(*, max_row=4096, **_sizes):
        """Difference, shift, square, their sum, the row's, the root, which the next row's waits for, the division."""
        root = FloorRoot.timing(value_bits=IntDeviation._total_bits(max_row))
        division = Divider.timing(quotient_bits=FACTOR_BITS)
        return Timing(
            latency=5 + root.latency + 1 + division.latency, interval=max(root.interval, division.interval)
        )  # fmt: skip

    def _distance(self, m, y, step, lane):
        shifted = delay(m, (y >> self.operands.norm_shift).as_signed(), 1, f"shifted{lane}", step=step)
        return delay(m, (shifted * shifted)[: self.distance_bits], 1, f"square{lane}", step=step)

    def _factor(self, m, valid, total):
        """The root's shift is a register of its own, between root and division."""
        m.submodules.root = root = FloorRoot(value_bits=len(total))
        deviation = Signal(len(root.o.payload) + (1 << SHIFT_BITS) - 1, reset_less=True)
        there, ready = Signal(), Signal()
        m.d.comb += [
            root.i.valid.eq(valid),
            root.i.payload.eq(total),
            root.o.ready.eq(~there | ready),
            ready.eq(self._divide(m, 1 << 31, there, _at_least(deviation, ROOT_LEAST))),
        ]
        with m.If(root.o.ready):
            m.d.sync += [there.eq(root.o.valid), deviation.eq(root.o.payload << self.operands.norm_shift)]
        return root.i.ready

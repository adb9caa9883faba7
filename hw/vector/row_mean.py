"""Mean of each row, where the deviation from it takes a pass of its own."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.utils import ceil_log2

from hw.spec.timing import Timing
from hw.units.divider import Divider
from hw.units.pipe import Pipe
from hw.vector.row_join import RowJoin
from hw.vector.row_unit import RowUnit

__all__ = ["RowMean"]

X_BITS = 16


class RowMean(RowUnit):
    """Computes RNE(sum / length) of each row, `lanes` elements per cycle.

    Everything is computed on u = x + 2**15 >= 0. A row's division runs while the next row streams in; a row that ends
    within ``row_cycles`` of the one before waits for it. The mean is offered ``latency`` cycles after the row's last
    elements entered.

    Parameters
    ----------
    lanes : int
    max_row : int
        Elements of the longest row.

    Members
    -------
    rows : {"length"}
        Taken with the first elements of the row.
    i : {"x", "mask", "last"}
        Elements without a one in the mask do not count; `length` is the number of the others.
    o : {"mean"}
    """

    def __init__(self, *, lanes, max_row=4096):
        super().__init__(
            lanes=lanes,
            x=signed(X_BITS),
            timing=self.timing(max_row=max_row),
            rows={"length": 13},
            statistics={"mean": signed(X_BITS)},
        )
        row_bits = ceil_log2(max_row)
        self._divider = Divider(
            dividend_bits=X_BITS + row_bits, divisor_bits=row_bits + 1, quotient_bits=X_BITS
        )  # fmt: skip
        self._join = RowJoin(row=self.rows.p.shape(), element=self.i.p.shape())

    @staticmethod
    def timing(**_sizes):
        """Elements, their sum, the row's; the division; its rounding in two steps."""
        division = Divider.timing(quotient_bits=X_BITS)
        return Timing(latency=3 + division.latency + 2, interval=division.interval)

    def elaborate(self, _platform):
        m = Module()
        m.submodules.join = join = self._join
        m.submodules.divider = divider = self._divider
        wiring.connect(m, wiring.flipped(self.rows), join.rows)
        wiring.connect(m, wiring.flipped(self.i), join.i)

        step = Signal()
        valid = Signal(3)  # the last one: the sum of a whole row waits
        last = Signal(2, reset_less=True)
        lengths = [Signal(len(divider.i.p.divisor), name=f"length{k}", reset_less=True) for k in range(3)]
        begin = Signal(init=1)  # the next beat is the first of its row
        fresh = [Signal(X_BITS, name=f"u{lane}", reset_less=True) for lane in range(self.lanes)]
        beat = Signal(range(self.lanes << X_BITS), reset_less=True)
        total = Signal(len(divider.i.p.dividend), reset_less=True)
        m.d.comb += [step.eq(~valid[2] | divider.i.ready), join.o.ready.eq(step)]
        with m.If(step):
            m.d.sync += [
                valid.eq(Cat(join.o.valid, valid[0], valid[1] & last[1])),
                last.eq(Cat(join.o.p.element.last, last)),
                lengths[0].eq(join.o.p.row.length),
                lengths[1].eq(lengths[0]),
                beat.eq(sum(fresh)),
            ]
            for lane in range(self.lanes):
                u = join.o.p.element.x[lane] ^ (1 << X_BITS - 1)
                m.d.sync += fresh[lane].eq(Mux(join.o.p.element.mask[lane], u[:X_BITS], 0))
            with m.If(valid[1]):
                m.d.sync += [total.eq(beat + Mux(begin, 0, total)), lengths[2].eq(lengths[1]), begin.eq(last[1])]
        m.d.comb += [
            divider.i.valid.eq(valid[2]),
            divider.i.p.dividend.eq(total),
            divider.i.p.divisor.eq(lengths[2]),
        ]
        self._round(m, lengths[2])
        return m

    def _round(self, m, length):
        """The quotient, one more where twice the remainder is above the length, or is it and the quotient odd."""
        divider = self._divider
        held = Signal.like(length, name="held", reset_less=True)
        with m.If(divider.i.valid & divider.i.ready):
            m.d.sync += held.eq(length)
        result = divider.o
        pipe = Pipe(m, result, self.o, 2)
        twice = Cat(Const(0, 1), result.p.remainder)
        up = pipe.hold((twice > held) | ((twice == held) & result.p.quotient[0]), "up")
        quotient = pipe.hold(result.p.quotient, "quotient")
        mean = pipe.hold((quotient + up)[:X_BITS] ^ (1 << X_BITS - 1), "mean")
        m.d.comb += self.o.p.mean.eq(mean)

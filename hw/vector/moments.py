"""First pass of I-LayerNorm: mean and factor of each row."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.utils import ceil_log2

from hw.spec.timing import Timing
from hw.units.divider import Divider
from hw.units.small_product import product_sum, product_terms
from hw.units.square_root import FACTOR_BITS, SquareRoot
from hw.vector.row_join import RowJoin
from hw.vector.row_unit import RowUnit

__all__ = ["Moments"]

X_BITS = 16
_ROOTS = 2  # that work by turns, a power of two: with one a row of fewer than 248 channels would wait for it


class Moments(RowUnit):
    """Computes :func:`arith.moments` of each row, `lanes` elements per cycle, in one pass.

    Mean and V = sum (x - mean)**2 do not mind an offset of x, so everything is computed on u = x + 2**15 >= 0. With
    S = sum u = C*m + r for the rounded mean m, V = sum u**2 - 2*m*S + C*m**2 = sum u**2 - m*(S + r), modulo a power
    of two above V < C * 2**30 (a variance of 16 bits). A row streams while the one before has its mean divided and
    V formed, and those before that their roots; rows shorter than ``row_cycles`` wait for them. Mean and factor are
    offered ``latency`` cycles after the row's last elements entered, when no other row is in the way.

    Parameters
    ----------
    lanes : int
    max_row : int
        Elements of the longest row, at most 4096.
    bits_per_cycle : int
        Of the root, see `SquareRoot`.
    products : str
        Where the squares are, see `product_terms`.

    Members
    -------
    rows : {"length"}
        Taken with the first elements of the row.
    i : {"x", "mask", "last"}
        Elements without a one in the mask do not count; `length` is the number of the others.
    o : {"mean", "factor"}
    """

    places_products = True

    def __init__(self, *, lanes, max_row=4096, bits_per_cycle=2, products="dsp"):
        if not 1 <= max_row <= 4096:
            raise ValueError(f"max_row must be 1..4096, not {max_row}")
        super().__init__(
            lanes=lanes,
            x=signed(X_BITS),
            timing=self.timing(max_row=max_row, bits_per_cycle=bits_per_cycle),
            rows={"length": 13},
            statistics={"mean": signed(16), "factor": FACTOR_BITS},
        )
        self._products = products
        row_bits = ceil_log2(max_row)
        self._sum_bits = X_BITS + row_bits
        self._value_bits = self._square_bits(max_row)
        self._roots = [SquareRoot(value_bits=self._value_bits, bits_per_cycle=bits_per_cycle) for _ in range(_ROOTS)]
        self._divider = Divider(dividend_bits=self._sum_bits, divisor_bits=row_bits + 1, quotient_bits=X_BITS)
        self._join = RowJoin(row=self.rows.p.shape(), element=self.i.p.shape())

    @staticmethod
    def _square_bits(max_row):
        """Of V, even."""
        row_bits = ceil_log2(max_row)
        return max(34, 30 + row_bits + row_bits % 2)

    @staticmethod
    def timing(*, max_row=4096, bits_per_cycle=2, **_sizes):
        """Sums, mean, remainder and V of a row, then its root; rows begin theirs at even distances."""
        root = SquareRoot.timing(value_bits=Moments._square_bits(max_row), bits_per_cycle=bits_per_cycle)
        mean = Divider.timing(quotient_bits=X_BITS)
        return Timing(latency=4 + mean.latency + 3 + X_BITS + root.latency, interval=-(-root.interval // _ROOTS))

    def elaborate(self, _platform):
        m = Module()
        m.submodules.join = self._join
        m.submodules.divider = self._divider
        for number, root in enumerate(self._roots):
            m.submodules[f"root{number}"] = root
        self._accumulate(m)
        self._combine(m)
        return m

    def _accumulate(self, m):
        """Sum and sum of squares of the elements; ``done`` while those of a whole row wait to be taken."""
        self.done = Signal()
        self.take = Signal()
        self.length = Signal(len(self._divider.i.p.divisor), reset_less=True)
        self.sum = Signal(self._sum_bits, reset_less=True)
        self.squares = Signal(self._value_bits, reset_less=True)

        join = self._join
        wiring.connect(m, wiring.flipped(self.rows), join.rows)
        wiring.connect(m, wiring.flipped(self.i), join.i)
        step = Signal()
        m.d.comb += [step.eq(~self.done | self.take), join.o.ready.eq(step)]
        valid = Signal(3)
        last = Signal(3, reset_less=True)
        lengths = [Signal.like(self.length, name=f"length{k}", reset_less=True) for k in range(3)]
        begin = Signal(init=1)  # the next beat is the first of its row
        fresh = [Signal(X_BITS, name=f"u{lane}", reset_less=True) for lane in range(self.lanes)]
        beat = [Signal(range(self.lanes << X_BITS), name=f"beat{k}", reset_less=True) for k in range(2)]
        squares = [
            term
            for lane, u in enumerate(fresh)
            for term in product_terms(m, u, u, f"square{lane}", step=step, place=self._products)
        ]
        squared = Signal(range(self.lanes << 2 * X_BITS), reset_less=True)

        all_squares = product_sum(m, squares, len(squared), "squared")
        with m.If(step):
            m.d.sync += [
                valid.eq(Cat(join.o.valid, valid)),
                last.eq(Cat(join.o.p.element.last, last)),
                lengths[0].eq(join.o.p.row.length),
                lengths[1].eq(lengths[0]),
                lengths[2].eq(lengths[1]),
                beat[0].eq(sum(fresh)),
                beat[1].eq(beat[0]),
                squared.eq(all_squares),
                self.done.eq(valid[2] & last[2]),
            ]
            for lane in range(self.lanes):
                u = join.o.p.element.x[lane] ^ (1 << X_BITS - 1)
                m.d.sync += fresh[lane].eq(Mux(join.o.p.element.mask[lane], u[:X_BITS], 0))
            with m.If(valid[2]):
                m.d.sync += [
                    self.sum.eq(beat[1] + Mux(begin, 0, self.sum)),
                    self.squares.eq(squared + Mux(begin, 0, self.squares)),
                    self.length.eq(lengths[2]),
                    begin.eq(last[2]),
                ]

    def _combine(self, m):
        """Mean, remainder and V of a row, then its root by the one whose turn it is."""
        divider, roots = self._divider, self._roots
        length = Signal.like(self.length, reset_less=True)
        mean = Signal(X_BITS, reset_less=True)
        means = Array(Signal(X_BITS, name=f"mean{k}", reset_less=True) for k in range(len(roots)))  # of the roots' rows
        beginning, ending = Signal(range(len(roots))), Signal(range(len(roots)))  # whose turn it is
        pause = Signal(range(self.row_cycles))  # until the next root may begin
        root_ready = Signal()
        remainder = Signal(signed(len(length) + 1), reset_less=True)
        value = Signal(self._value_bits, reset_less=True)
        multiple = Signal(self._value_bits, reset_less=True)  # (S + r) << bit
        bits = Signal(X_BITS, reset_less=True)  # of the mean, from this one on
        left = Signal(range(X_BITS))
        up = Signal(reset_less=True)

        twice = Cat(Const(0, 1), divider.o.p.remainder)
        m.d.comb += [
            divider.i.p.dividend.eq(self.sum),
            divider.i.p.divisor.eq(self.length),
            root_ready.eq(Array(root.i.ready for root in roots)[beginning] & (pause == 0)),
            self.o.valid.eq(Array(root.o.valid for root in roots)[ending]),
            self.o.p.mean.eq(means[ending] ^ (1 << X_BITS - 1)),
            self.o.p.factor.eq(Array(root.o.p.factor for root in roots)[ending]),
        ]
        for number, root in enumerate(roots):
            m.d.comb += [root.i.p.eq(value), root.o.ready.eq(self.o.ready & (ending == number))]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += ending.eq(ending + 1)
        with m.If(pause != 0):
            m.d.sync += pause.eq(pause - 1)
        idle = Signal(init=1)  # in state Wait; so is the divider then
        m.d.comb += [self.take.eq(idle), divider.i.valid.eq(self.done & idle)]
        with m.FSM():
            with m.State("Wait"):
                with m.If(self.done):
                    m.d.sync += idle.eq(0)
                    m.d.sync += [length.eq(self.length), multiple.eq(self.sum), value.eq(self.squares)]
                    m.next = "Divide"
            with m.State("Divide"):
                m.d.sync += up.eq((twice > length) | ((twice == length) & divider.o.p.quotient[0]))
                with m.If(divider.o.valid):
                    m.next = "Round"
            with m.State("Round"):
                m.d.comb += divider.o.ready.eq(1)
                m.d.sync += [
                    mean.eq(divider.o.p.quotient + up),
                    remainder.eq(divider.o.p.remainder - Mux(up, length, 0)),
                ]
                m.next = "Add"
            with m.State("Add"):
                m.d.sync += [multiple.eq(multiple + remainder), bits.eq(mean), left.eq(X_BITS - 1)]
                m.next = "Multiply"
            with m.State("Multiply"):
                m.d.sync += [
                    value.eq(value - Mux(bits[0], multiple, 0)),
                    multiple.eq(multiple << 1),
                    bits.eq(bits >> 1),
                    left.eq(left - 1),
                ]
                with m.If(left == 0):
                    m.next = "Deliver"
            with m.State("Deliver"):
                for number, root in enumerate(roots):
                    m.d.comb += root.i.valid.eq((beginning == number) & (pause == 0))
                with m.If(root_ready):
                    m.d.sync += [
                        means[beginning].eq(mean),
                        beginning.eq(beginning + 1),
                        pause.eq(self.row_cycles - 1),
                        idle.eq(1),
                    ]
                    m.next = "Wait"

"""ShiftGELU: x times a sigmoid made of two exponentials and a division."""

from itertools import pairwise

from amaranth import *
from amaranth.lib import data, wiring

from hw.spec.timing import Timing
from hw.units.pipe import Pipe
from hw.units.reciprocal import Reciprocal
from hw.vector.gelu_max_exp import GeluMaxExp
from hw.vector.row_join import RowJoin
from hw.vector.row_unit import RowUnit
from hw.vector.shift_exp import ShiftExp

__all__ = ["ShiftGelu"]

TERMS = 23
EXP_BITS = TERMS + 10  # E <= i0 << 23
FACTOR_BITS = 30  # both exponentials are at least i0 >= 1, so the divisor is at least 2
LOW_BITS = 17  # of the factor, in the first of two products


class ShiftGelu(RowUnit):
    """Computes :func:`arith.shift_gelu` of rows whose maximum is known, one element per cycle.

    sigma = (E*F) >> 24 is (mantissa*F) >> (2 + q), by the argument of `Shiftmax`; F is the reciprocal of
    E + EM, saturated. A row's EM is computed from when the first element of the row before has reached its sum:
    rows of at least ``row_cycles`` elements follow each other without a gap, unless a maximum is negative. Results
    leave ``latency`` cycles after their elements enter; a stalled output stalls the pipe.

    Members
    -------
    rows : {"row_max", "i0"}
        Taken ahead of the row, as soon as the previous row's is in use.
    i : {"x", "mask", "last"}
    o : {"x": x * sigma, "mask", "last"}
    """

    def __init__(self, *, lanes=1, max_row=4096):
        if lanes != 1:
            raise ValueError(f"ShiftGelu takes one element per cycle, not {lanes}")
        super().__init__(
            lanes=1,
            x=signed(8),
            timing=self.timing(max_row=max_row),
            rows={"row_max": signed(8), "i0": 10},
            results=signed(18),
        )
        self._max_exp = GeluMaxExp()
        self._join = RowJoin(
            row=data.StructLayout({"row_max": signed(8), "i0": 10}),
            element=data.StructLayout({"x": signed(8), "first": 1, "last": 1}),
        )
        self._exp = ShiftExp(terms=TERMS, tag=self._join.i.p.shape())
        self._side = data.StructLayout({"mantissa": 11, "q": 5, "x": signed(8), "last": 1})
        self._reciprocal = Reciprocal(tag=self._side)

    @staticmethod
    def timing(**_sizes):
        """Of rows whose maximum is not negative; others may take longer, see `GeluMaxExp`."""
        exp = ShiftExp.timing(terms=TERMS).latency
        return Timing(
            latency=exp + 4 + Reciprocal.timing().latency + 7,
            interval=exp + 2 + GeluMaxExp.positive + 1,
            lead=GeluMaxExp.positive - 4,
        )

    def elaborate(self, _platform):
        m = Module()
        m.submodules.max_exp = self._max_exp
        m.submodules.join = self._join
        m.submodules.exp = self._exp
        m.submodules.reciprocal = self._reciprocal
        wiring.connect(m, wiring.flipped(self.rows), self._max_exp.i)
        self._feed(m)
        self._sum(m)
        self._multiply(m)
        return m

    def _feed(self, m):
        """A row's elements, once its EM is there, less its maximum into the exponential."""
        row, join, exp = self._max_exp.o, self._join, self._exp
        first = Signal(init=1)
        known = Signal()  # row_max and i0 were taken, EM not yet
        m.d.comb += [
            join.rows.valid.eq(row.valid & ~known),
            join.rows.p.row_max.eq(row.p.row_max),
            join.rows.p.i0.eq(row.p.i0),
            join.i.valid.eq(self.i.valid),
            join.i.p.x.eq(self.i.p.x[0]),
            join.i.p.first.eq(first),
            join.i.p.last.eq(self.i.p.last),
            self.i.ready.eq(join.i.ready),
            exp.i.valid.eq(join.o.valid),
            exp.i.p.d.eq(join.o.p.element.x - join.o.p.row.row_max),
            exp.i.p.i0.eq(join.o.p.row.i0),
            exp.i.p.tag.eq(join.o.p.element),
            join.o.ready.eq(exp.i.ready),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += first.eq(self.i.p.last)
        with m.If(join.rows.valid & join.rows.ready):
            m.d.sync += known.eq(1)
        with m.Elif(row.ready):
            m.d.sync += known.eq(0)

    def _sum(self, m):
        """E from its parts, E + EM, saturation; one enable with the reciprocal behind."""
        exp, reciprocal = self._exp.o, self._reciprocal.i
        step = reciprocal.ready
        valid = Signal(4)
        sides = [Signal(self._side, name=f"side{k}", reset_less=k < 3) for k in range(4)]  # see Reciprocal's tag
        first = Signal(2, reset_less=True)
        shift = Signal(range(TERMS + 1))
        fine = Signal(14, reset_less=True)
        coarse = Signal(range(TERMS // 4 + 1), reset_less=True)
        power = Signal(EXP_BITS, reset_less=True)
        held = Signal(31, reset_less=True)
        max_exp = Signal(31)
        total = Signal(EXP_BITS + 1, reset_less=True)
        divisor = Signal(31, reset_less=True)

        m.d.comb += [
            exp.ready.eq(step),
            shift.eq(TERMS - exp.p.q),
            max_exp.eq(Mux(first[1], self._max_exp.o.p.exp, held)),
            self._max_exp.o.ready.eq(step & valid[1] & first[1]),
            reciprocal.valid.eq(valid[3]),
            reciprocal.p.divisor.eq(divisor),
            reciprocal.p.tag.eq(sides[3]),
        ]
        with m.If(step):
            m.d.sync += [
                valid.eq(Cat(exp.valid, valid)),
                sides[0].mantissa.eq(exp.p.mantissa),
                sides[0].q.eq(exp.p.q),
                sides[0].x.eq(exp.p.tag.x),
                sides[0].last.eq(exp.p.tag.last),
                *(after.eq(before) for before, after in pairwise(sides)),
                first.eq(Cat(exp.p.tag.first, first)),
                fine.eq(exp.p.mantissa << shift[:2]),
                coarse.eq(shift[2:]),
                power.eq((fine << Cat(Const(0, 2), coarse)) >> 1),
                total.eq(power + max_exp),
                divisor.eq(total[:31] | total[31:].any().replicate(31)),
            ]
            with m.If(valid[1]):
                m.d.sync += held.eq(max_exp)

    def _multiply(self, m):
        """mantissa*F in two products, sigma, x*sigma."""
        reciprocal = self._reciprocal.o
        pipe = Pipe(m, reciprocal, self.o, 7)
        sides = [Signal(self._side, name=f"late{k}", reset_less=True) for k in range(7)]
        factor = Signal(FACTOR_BITS - LOW_BITS, reset_less=True)
        low = [Signal(LOW_BITS + 11, name=f"low{k}", reset_less=True) for k in range(2)]
        high = Signal(FACTOR_BITS - LOW_BITS + 11, reset_less=True)
        product = Signal(FACTOR_BITS + 11, reset_less=True)
        window = Signal(16, reset_less=True)
        sigma = Signal(9, reset_less=True)  # i0/2 at most
        y = [Signal(signed(18), name=f"y{k}", reset_less=True) for k in range(2)]

        m.d.comb += [
            self.o.p.x[0].eq(y[1]),
            self.o.p.mask.eq(1),
            self.o.p.last.eq(sides[-1].last),
        ]
        with m.If(pipe.step):
            m.d.sync += [
                *(after.eq(before) for before, after in zip([reciprocal.p.tag, *sides], sides, strict=False)),
                factor.eq(reciprocal.p.quotient[LOW_BITS:]),
                low[0].eq(reciprocal.p.tag.mantissa * reciprocal.p.quotient[:LOW_BITS]),
                low[1].eq(low[0]),
                high.eq(sides[0].mantissa * factor),
                product.eq(Cat(low[1][:LOW_BITS], high + low[1][LOW_BITS:])),
                window.eq(product >> Cat(Const(2, 3), sides[2].q[3:])),
                sigma.eq(window >> sides[3].q[:3]),
                y[0].eq(sides[4].x * sigma),
                y[1].eq(y[0]),
            ]

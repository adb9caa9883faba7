"""GELU of I-BERT: a polynomial of second order for erf, no exponential, no division."""

from amaranth.hdl import Module, Mux, Signal, signed

from hw.spec.rivals import GELU_SHIFT
from hw.spec.timing import Timing
from hw.units.pipe import Pipe
from hw.vector.row_unit import RowUnit

__all__ = ["IntGelu"]

B_BITS, C_BITS = 15, 31
ERF_BITS = 20  # of y + s: |y| and |s| are 2^17 at most, and reach it
RESULT_BITS = 35


class IntGelu(RowUnit):
    """Computes :func:`rivals.int_gelu`, `lanes` elements per cycle, of int16 or int8.

    Two products per lane, of 15 x 15 and 20 x 16 bits. Results leave ``latency`` cycles after their elements enter; a
    stalled output stalls the whole pipe.

    Members
    -------
    operands : {"b", "c"}
        Magnitudes of I-BERT's constants.
    i : {"x", "mask", "last"}
    o : {"x": -x * (y + s), "mask", "last"}
    """

    latency = 8

    def __init__(self, *, lanes, max_row=4096):
        super().__init__(
            lanes=lanes, x=signed(16), timing=self.timing(max_row=max_row), operands={"b": B_BITS, "c": C_BITS},
            results=signed(RESULT_BITS),
        )  # fmt: skip

    @staticmethod
    def timing(**_sizes):
        """Magnitude, distance, square, polynomial, sign, sum, product and a register behind it."""
        return Timing(latency=IntGelu.latency)

    def elaborate(self, _platform):
        m = Module()
        pipe = Pipe(m, self.i, self.o, self.latency)
        for field in ("mask", "last"):
            pipe.carry(field)
        b, c = self.operands.b, self.operands.c
        minus_s = pipe.hold(-((-c).as_signed() >> GELU_SHIFT), "minus_s")  # stable
        for lane in range(self.lanes):
            x = self.i.p.x[lane]
            magnitude = pipe.hold(Mux(x[-1], -x, x)[:16], f"magnitude{lane}")
            distance = pipe.hold(Mux(magnitude < b, b - magnitude, 0)[:B_BITS], f"distance{lane}")
            square = pipe.hold(distance * distance, f"square{lane}")
            polynomial = pipe.hold((square - c).as_signed(), f"polynomial{lane}")
            early = pipe.hold(x, f"x{lane}", steps=4)
            signed_ = Mux(early[-1], -polynomial, Mux(early.any(), polynomial, 0)) >> GELU_SHIFT
            y = pipe.hold(signed_, f"y{lane}")
            erf = Signal(signed(ERF_BITS), name=f"erf{lane}", reset_less=True)
            with m.If(pipe.step):
                m.d.sync += erf.eq(minus_s - y)
            late = pipe.hold(early, f"late{lane}", steps=2)
            product = pipe.hold(late * erf, f"product{lane}", steps=2)
            m.d.comb += self.o.p.x[lane].eq(product)
        return m

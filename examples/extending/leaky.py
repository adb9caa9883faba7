"""LEAKY, an operator of its own: x, or x / 2^by rounded down where x is negative. Graph operator, opcode and unit."""

import numpy as np
from amaranth.hdl import Module, Mux, signed

from hw.spec.opcodes import Field
from hw.spec.operators import Attribute, Operator, Value
from hw.spec.timing import Timing
from hw.spec.vector import DEST, SHAPE, SOURCE, Outcome, VectorOp
from hw.units.pipe import Pipe
from hw.vector.row_unit import RowUnit

__all__ = ["LEAKY", "Leaky", "LeakyUnit"]


class Leaky(Operator):
    """x where it is not negative, else x / 2^by rounded down, of int8 of any shape; int8."""

    name = "leaky"
    local = 0
    attributes = (Attribute("by", range(1, 8), "how much less steep it is below zero, a power of two"),)

    def infer(self, x):
        self.need(x, len(x.shape), 8)
        return Value(x.shape, 8)

    def evaluate(self, _laws, x):
        return np.where(x < 0, x >> self["by"], x)


def _law(given):
    return Outcome(results=np.where(given.x < 0, given.x >> given.operands["by"], given.x))


LEAKY = VectorOp(
    number=31, name="LEAKY", unit="leaky", law=_law, overhead=20,
    operands=(*SOURCE, *DEST, *SHAPE, Field("by", 3, "bits to shift negative elements by")),
    doc="Results x, or x >> by where x is negative; int8.",
)  # fmt: skip


class LeakyUnit(RowUnit):
    """Computes LEAKY, `lanes` elements per cycle; a result leaves 1 cycle after its element enters.

    Members
    -------
    operands : {"by"}
    i : {"x", "mask", "last"}
    o : {"x", "mask", "last"}
    """

    def __init__(self, *, lanes, max_row=4096):
        super().__init__(
            lanes=lanes, x=signed(8), timing=self.timing(max_row=max_row), operands={"by": 3}, results=signed(8)
        )

    @staticmethod
    def timing(**_sizes):
        return Timing(latency=1)

    def elaborate(self, _platform):
        m = Module()
        pipe = Pipe(m, self.i, self.o, 1)
        for name in ("mask", "last"):
            pipe.carry(name)
        for lane in range(self.lanes):
            x = self.i.p.x[lane]
            result = Mux(x < 0, x >> self.operands.by, x)
            m.d.comb += self.o.p.x[lane].eq(pipe.hold(result[:8].as_signed(), f"x{lane}"))
        return m

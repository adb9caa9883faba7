"""Opcodes and units from elsewhere, joined to the engine by the names of their ports."""

import numpy as np
import pytest
from amaranth.hdl import Module, Mux, signed

from hw.spec.config import Config
from hw.spec.isa import Field, Op, encode
from hw.spec.timing import Timing
from hw.spec.vector import Outcome, Second, VectorOp, registered, row_of
from hw.units.pipe import Pipe
from hw.units.ports import lanes_of
from hw.vector.row_unit import RowUnit
from hw.vector.row_units import make_unit, with_units
from sim.machine import Machine
from tests.support.vector_driver import run_program
from tests.support.vector_reference import Program, random_program
from tests.vector.test_engine import WORDS, check, engine
from tests.vector.test_engine_rivals import Instructions

pytestmark = pytest.mark.usefixtures("extended")

SHAPE = (
    Field("source", 16, "where"), Field("source_row", 12, "step"), Field("dest", 16, "to"),
    Field("dest_row", 12, "step"), Field("rows", 8, "rows", count=True, limit="tokens"),
    Field("length", 12, "elements", count=True, limit="max_row"),
)  # fmt: skip


def leaky(given):
    return Outcome(results=np.where(given.x < 0, (given.x * given.operands["slope"]) >> 8, given.x))


LEAKY = VectorOp(  # `lanes` a cycle, an operand of its own, straight into words
    number=24, name="LEAKY_RELU", unit="leaky_relu", doc="", law=leaky,
    operands=(*SHAPE, Field("slope", 8, "in 1/256", count=True)),
)  # fmt: skip


class LeakyRelu(RowUnit):
    def __init__(self, *, lanes, max_row):
        timing = self.timing(max_row=max_row)
        super().__init__(lanes=lanes, x=signed(8), timing=timing, operands={"slope": 9}, results=signed(8))

    @staticmethod
    def timing(**_sizes):
        return Timing(latency=2)

    def elaborate(self, _platform):
        m = Module()
        pipe = Pipe(m, self.i, self.o, self.latency)
        pipe.carry("mask")
        pipe.carry("last")
        for lane, x in enumerate(self.i.p.x):
            product = pipe.hold(x * self.operands.slope, f"product{lane}")
            kept = pipe.hold(x, f"kept{lane}")
            m.d.comb += self.o.p.x[lane].eq(pipe.hold(Mux(kept < 0, product >> 8, kept), f"result{lane}"))
        return m


def gate(given):
    scaled = given.x * np.maximum(given.identity, 0) + given.row_max
    shift = given.operands["shift"]
    return Outcome(results=np.clip((scaled * given.operands["mult"] + (1 << shift - 1)) >> shift, -128, 127))


GATE = VectorOp(  # two operands, something known of each row, requantized
    number=30, name="GATE", unit="gate", doc="", law=gate, second=Second.IDENTITY, requantized=True,
    operands=(
        *SHAPE, Field("row_max", 4, "bank", limit="row_max_banks"), Field("mult", 32, "mantissa"),
        Field("shift", 6, "exponent"), Field("identity", 16, "gate", slot="other"),
        Field("identity_row", 12, "step", slot="other_row"),
    ),
)  # fmt: skip


class Gate(RowUnit):
    """Takes a row's maximum with its last element, so that it need not remember it."""

    def __init__(self, *, lanes, max_row):
        super().__init__(
            lanes=lanes, x=signed(8), timing=self.timing(max_row=max_row), rows={"row_max": signed(8)},
            beat={"identity": lanes_of(lanes, signed(8))}, results=signed(17),
        )  # fmt: skip

    @staticmethod
    def timing(**_sizes):
        return Timing(latency=1)

    def elaborate(self, _platform):
        m = Module()
        m.d.comb += [
            self.i.ready.eq(self.rows.valid),
            self.rows.ready.eq(self.i.valid & self.i.p.last),
        ]
        m.d.sync += [
            self.o.valid.eq(self.i.valid & self.i.ready),
            self.o.p.mask.eq(self.i.p.mask),
            self.o.p.last.eq(self.i.p.last),
        ]
        for x, y, result in zip(self.i.p.x, self.i.p.identity, self.o.p.x, strict=True):
            m.d.sync += result.eq(x * Mux(y < 0, 0, y) + self.rows.p.row_max)
        return m


@pytest.fixture
def extended():
    with registered(LEAKY, GATE), with_units(LEAKY_RELU=LeakyRelu, GATE=Gate):
        yield


def run(units, instructions, stall):
    """Scratchpads that the engine and the machine model leave."""
    rng = np.random.default_rng(1)
    before = rng.integers(0, 256, (WORDS, 8)).astype(np.uint8)
    maxima = rng.integers(-128, 128, 16)
    machine = Machine(Config(rows=8, cols=4, tokens=16, bank_words=128, array="portable", vector=units), {})
    machine.scratch[:] = before
    machine.row_max[:] = maxima
    machine.run(b"".join(encode(op, **operands) for op, operands in instructions) + encode(Op.HALT))
    program = Program([(op, operands, maxima) for op, operands in instructions], before, machine.scratch)
    return run_program(engine(vector=units), program, stall=stall), program


@pytest.mark.parametrize("stall", [0.0, 0.3])
@pytest.mark.parametrize("units", [("leaky_relu", "gate"), ("shiftmax", "layer_norm", "add", "leaky_relu", "gate")])
def test_opcodes_from_elsewhere(units, stall):
    shape = {"source": 3, "source_row": 5, "dest": 200, "dest_row": 6, "rows": 7, "length": 37}
    scale = {"mult": 3 << 29, "shift": 35, "identity": 90, "identity_row": 5, "row_max": 0}
    instructions = [
        (Op.LEAKY_RELU, shape | {"slope": 77}),
        (Op.GATE, shape | scale | {"dest": 300}),
        (Op.LEAKY_RELU, shape | {"slope": 255, "rows": 1, "dest": 400, "length": 8}),
    ]
    result, program = run(units, instructions, stall)
    assert result.fault is None
    assert len(result.retired) == 3
    assert (result.memory == program.after).all()


def test_operands_and_widths_of_results():
    """Both operands of additions; int16 results, in words and in two planes."""
    calls = [
        ("add", {"shape": (3, 19), "wide": (1, 1, 1)}), ("add", {"shape": (2, 9), "wide": (0, 0, 0)}),
        ("norm", {"shape": (3, 23), "wide_source": 0, "wide_dest": 0, "planes": 1}),
    ]  # fmt: skip
    program = random_program(7, calls, rows=8, words=WORDS, max_rows=16, max_length=64)
    check(run_program(engine(vector=("layer_norm", "add")), program), program)


def test_statistics_that_need_others():
    """L1_DEVIATION looks up the means that ROW_MEAN has found, row by row."""
    made = Instructions(1, rows=8, units=("l1_layer_norm",))
    made.norm(Op.L1_DEVIATION)
    check(run_program(engine(vector=made.machine.config.vector), made.program()), made.program())


def test_an_opcode_without_a_unit_is_named():
    with (
        registered(VectorOp(number=26, name="ALONE", unit="alone", doc="", law=leaky, operands=SHAPE)),
        pytest.raises(ValueError, match=r"no unit is registered in hw\.vector\.row_units for the opcode ALONE"),
    ):
        make_unit(row_of(Op.ALONE), word_bits=128, lanes=2, max_row=64, tag=None)

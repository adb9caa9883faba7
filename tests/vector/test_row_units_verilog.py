"""The row units as emitted Verilog, driven by cocotb."""

import pytest

from hw.spec.isa import Op
from hw.spec.vector import row_of
from hw.vector.deviation import IntDeviation, L1Deviation
from hw.vector.int_gelu import IntGelu
from hw.vector.int_softmax import IntSoftmax
from hw.vector.int_softmax_sum import IntSoftmaxSum
from hw.vector.layer_norm import LayerNorm
from hw.vector.log_softmax import LogSoftmax
from hw.vector.log_softmax_sum import LogSoftmaxSum
from hw.vector.moments import Moments
from hw.vector.power_factors import PowerFactors
from hw.vector.requantize_lanes import RequantizeLanes
from hw.vector.row_mean import RowMean
from hw.vector.row_units import longest
from hw.vector.shift_gelu import ShiftGelu
from hw.vector.shiftmax import Shiftmax
from hw.vector.table import Table
from tests.support.cocotb import run_bench

UNITS = {
    "shiftmax": lambda: Shiftmax(lanes=2),
    "shift_gelu": lambda: ShiftGelu(lanes=2),
    "moments": lambda: Moments(lanes=2),
    "table": lambda: Table(lanes=2, word_bits=128),
    "row_mean": lambda: RowMean(lanes=2),
    "l1_deviation": lambda: L1Deviation(lanes=2),
    "int_deviation": lambda: IntDeviation(lanes=2),
    "int_softmax_sum": lambda: IntSoftmaxSum(lanes=2),
    "int_softmax": lambda: IntSoftmax(lanes=2),
    "log_softmax_sum": lambda: LogSoftmaxSum(lanes=2),
    "log_softmax": lambda: LogSoftmax(lanes=2),
    "int_gelu": lambda: IntGelu(lanes=2),
    "power_factors": lambda: PowerFactors(lanes=2),
}


@pytest.mark.parametrize("pressure", [0.0, 0.4])
@pytest.mark.parametrize("name", UNITS)
def test_equals_law(name, pressure):
    assert run_bench(UNITS[name](), "sim.bench.row_units", name=name, env={"PRESSURE": pressure}, testcase=name) == 1


@pytest.mark.parametrize(("ops", "cycles"), [
    ([Op.MOMENTS], 0),
    ([Op.ADD], RequantizeLanes.latency),
    ([Op.SHIFTMAX], Shiftmax.timing().latency),
    ([Op.MOMENTS, Op.LAYER_NORM, Op.ADD], LayerNorm.timing().latency + RequantizeLanes.latency),
    ([Op.SHIFT_GELU, Op.ADD], ShiftGelu.timing().latency + RequantizeLanes.latency),
])  # fmt: skip
def test_how_long_a_result_may_be_under_way(ops, cycles):
    """Through its unit, and through a requantizer if it is to be scaled; statistics are no results."""
    assert longest([row_of(op) for op in ops], lanes=2, max_row=64) == cycles

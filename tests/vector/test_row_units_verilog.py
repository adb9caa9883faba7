"""Shiftmax, ShiftGelu, Moments and Table as emitted Verilog, driven by cocotb."""

import pytest

from hw.vector.moments import Moments
from hw.vector.shift_gelu import ShiftGelu
from hw.vector.shiftmax import Shiftmax
from hw.vector.table import Table
from tests.support.cocotb import run_bench

UNITS = {
    "shiftmax": lambda: Shiftmax(lanes=2),
    "shift_gelu": lambda: ShiftGelu(lanes=2),
    "moments": lambda: Moments(lanes=2),
    "table": lambda: Table(lanes=2, word_bits=128),
}


@pytest.mark.parametrize("pressure", [0.0, 0.4])
@pytest.mark.parametrize("name", UNITS)
def test_equals_law(name, pressure):
    assert run_bench(UNITS[name](), "sim.bench.row_units", name=name, env={"PRESSURE": pressure}, testcase=name) == 1

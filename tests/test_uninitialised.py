"""The IP core without any initial value, as an ASIC gets it: a reset is enough."""

import re
import shutil

import pytest

from hw.accelerator import Accelerator
from hw.boards.registry import BOARDS
from sim.bench.uninitialised import uninitialised
from tests.support.cocotb import core_program, run_bench
from tests.support.optional import NO_ICARUS

CONFIG = BOARDS["tiny"].config


@pytest.fixture(scope="module")
def verilog():
    return uninitialised(Accelerator(CONFIG), "shiftwork")


@pytest.fixture
def env(tmp_path):
    return core_program(tmp_path / "program.npz", CONFIG, groups=4)


def test_nothing_is_initialised(verilog):
    """But what yosys has for a process without inputs to begin with."""
    given = re.findall(r"^ *reg .* = .*$|^ *initial .*$", verilog, re.MULTILINE)
    assert all("$auto$verilog_backend" in line for line in given), given


@pytest.mark.parametrize("seed", range(2))
def test_random_initial_values(seed, verilog, env):
    """Two states: what is not set is 0 or 1 by chance."""
    assert run_bench(verilog, "sim.bench.accelerator", name="shiftwork", env=env, initial=seed) == 5


@pytest.mark.skipif(shutil.which("iverilog") is None, reason=NO_ICARUS)
def test_four_states(verilog, env):
    """What is not set is X, and so is whatever depends on it."""
    assert run_bench(verilog, "sim.bench.accelerator", name="shiftwork", env=env, initial="x") == 5

"""The IP core without any initial value, as an ASIC gets it: a reset is enough."""

import re
import shutil

import numpy as np
import pytest

from hw.accelerator import Accelerator
from hw.boards.registry import BOARDS
from sim.bench.uninitialised import uninitialised
from sim.random_programs import random_program
from tests.support.cocotb import run_bench
from tests.support.optional import NO_ICARUS

CONFIG = BOARDS["tiny"].config


@pytest.fixture(scope="module")
def verilog():
    return uninitialised(Accelerator(CONFIG), "shiftwork")


@pytest.fixture
def env(tmp_path):
    generated = random_program(CONFIG, 11, groups=4)
    arrays = {f"before_{region.name}": content for region, content in generated.before.items()}
    arrays |= {f"after_{region.name}": content for region, content in generated.after.items()}
    path = tmp_path / "program.npz"
    np.savez(path, program=np.frombuffer(generated.program, np.uint8), **arrays)
    return {"BENCH_DATA": path, "BENCH_SEED": 1, "BENCH_FINGERPRINT": CONFIG.fingerprint}


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

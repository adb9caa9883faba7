"""The IP core as emitted Verilog: its pins, and third-party AXI models on them."""

import re

import numpy as np
import pytest
from amaranth.back import rtlil

from hw.accelerator import Accelerator
from hw.boards.registry import BOARDS
from sim.random_programs import random_program
from tests.support.cocotb import run_bench

CONFIG = BOARDS["tiny"].config


def test_bench(tmp_path):
    generated = random_program(CONFIG, 11, groups=8)
    arrays = {f"before_{region.name}": content for region, content in generated.before.items()}
    arrays |= {f"after_{region.name}": content for region, content in generated.after.items()}
    path = tmp_path / "program.npz"
    np.savez(path, program=np.frombuffer(generated.program, np.uint8), **arrays)
    env = {"BENCH_DATA": path, "BENCH_SEED": 1, "BENCH_FINGERPRINT": CONFIG.fingerprint}
    assert run_bench(Accelerator(CONFIG), "sim.bench.accelerator", name="shiftwork", env=env) == 5


@pytest.mark.parametrize("trace", [False, True])
def test_pins_have_standard_names(trace):
    text = rtlil.convert(Accelerator(CONFIG, trace=trace), name="shiftwork", emit_src=False)
    top = text[text.index("module \\shiftwork\n") :].split("\nend\n")[0]
    pins = set(re.findall(r"^  wire .*(?:input|output) \d+ +.(\S+)$", top, re.MULTILINE))
    assert {"clk", "rst", "interrupt"} <= pins
    assert all(re.fullmatch(r"(s_axil|m_axi)_[a-z]+|clk|rst|interrupt|trace_\w+", pin) for pin in pins)
    assert len([pin for pin in pins if pin.startswith("s_axil_")]) == 19
    assert len([pin for pin in pins if pin.startswith("trace_")]) == (5 if trace else 0)

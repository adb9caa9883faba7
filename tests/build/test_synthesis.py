"""Counting cells, and the report of a small design whose resources are known."""

from pathlib import Path

import pytest

from hw.boards.fabric import ECP5, GENERIC, SERIES7
from hw.build import synthesis, yosys
from hw.build.liberty import NETLIST, family, read
from hw.build.synthesis import Unit, count, synthesise

TINY = Path(__file__).parents[1] / "data" / "liberty" / "tiny.lib"

DESIGN = """\
module part(input clk, input [7:0] a, input [7:0] b, output reg [7:0] y);
  always @(posedge clk) y <= a ^ b;
endmodule
module inner(input clk, input [7:0] a, output reg [7:0] y);
  always @(posedge clk) y <= a;
endmodule
module \\design.whole (input clk, input [7:0] a, input [7:0] b, input [9:0] at, output [7:0] y, output [7:0] z,
    output reg [35:0] q, output reg [15:0] p);
  wire [7:0] w, v;
  part one(.clk(clk), .a(a), .b(b), .y(w));
  part two(.clk(clk), .a(w), .b(a), .y(v));
  inner three(.clk(clk), .a(v), .y(y));
  assign z = v;
  reg [35:0] mem [0:1023];
  always @(posedge clk) begin mem[at] <= {4{a, 1'b1}}; q <= mem[at ^ 10'd1]; p <= a * b; end
endmodule
"""


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ({"LUT6": 3, "LUT1": 1, "INV": 2, "CARRY4": 9, "MUXF7": 5}, {"lut": 6}),
        ({"RAM64M": 2, "RAM32M": 1, "RAM64X1D": 1, "RAM128X1D": 1, "SRL16E": 3, "SRLC32E": 1}, {"lut": 22}),
        ({"FDRE": 4, "FDSE": 1, "FDCE": 1, "FDPE_1": 1}, {"ff": 7}),
        ({"RAMB36E1": 2, "RAMB18E1": 3, "DSP48E1": 5, "BUFG": 1}, {"bram36": 3.5, "dsp": 5}),
    ],
)
def test_cells_of_the_7_series(cells, expected):
    assert count(SERIES7, cells) == {"lut": 0, "ff": 0, "dsp": 0, "bram36": 0, **expected}


def test_cells_of_the_ecp5():
    cells = {"LUT4": 3, "CCU2C": 2, "TRELLIS_DPR16X4": 1, "PFUMX": 4, "TRELLIS_FF": 5, "MULT18X18D": 6, "DP16KD": 7}
    assert count(ECP5, cells) == {"lut": 13, "ff": 5, "dsp": 6, "ebr": 7}


def keep(name):
    return name == "part"


def test_instances_in_a_unit(tmp_path):
    """A unit into which modules with a vendor's cells dissolve; yosys knows those only when it has read the unit."""
    (tmp_path / "design.v").write_text("""\
module pair(input clk, input signed [1:0] a, input b, output y);
  wire p;
  reg q;
  MULT18X18D #(.REG_OUTPUT_CLK("CLK0")) mult(.A17(a[1]), .A16(a[0]), .B17(b), .CLK0(clk), .CE0(1'h1), .P35(p));
  always @(posedge clk) q <= p;
  assign y = q;
endmodule
module part(input clk, input a, input b, output y);
  wire w;
  pair one(.clk(clk), .a({a, b}), .b(b), .y(w));
  pair two(.clk(clk), .a({w, b}), .b(b), .y(y));
endmodule
module whole(input clk, input a, input b, output y);
  part only(.clk(clk), .a(a), .b(b), .y(y));
endmodule
""")
    used = {"lut": 0, "ff": 2, "dsp": 2, "ebr": 0}
    units = synthesise(["design.v"], "whole", ECP5, tmp_path, keep=keep)
    assert units == [Unit("whole", used), Unit("part", used)]


def test_one_inverter_for_the_enables_of_many_registers(tmp_path):
    """On the 7 series, whose registers' enables and resets cannot be inverted."""
    (tmp_path / "design.v").write_text("""\
module whole(input clk, input hold, input empty, input [31:0] a, output reg [31:0] y);
  always @(posedge clk) if (!empty) y <= 0; else if (!hold) y <= a;
endmodule
""")
    assert synthesise(["design.v"], "whole", SERIES7, tmp_path) == [
        Unit("whole", {"lut": 2, "ff": 32, "dsp": 0, "bram36": 0})
    ]


def test_tristates(tmp_path):
    """A pin driven both ways, as a shell's to the Ethernet PHY."""
    (tmp_path / "design.v").write_text("""\
module whole(input clk, input drive, input level, inout pin, output reg seen);
  assign pin = drive ? level : 1'bz;
  always @(posedge clk) seen <= pin;
endmodule
""")
    (whole,) = synthesise(["design.v"], "whole", SERIES7, tmp_path)
    assert (whole.used["ff"], whole.used["lut"] <= 1) == (1, True)


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "design.v").write_text(DESIGN)
    return tmp_path


def test_units_of_a_part(directory, monkeypatch):
    """`part` is kept and counted twice in the whole, `inner` dissolves in it; the second time nothing is run."""
    seen = []
    units = synthesise(
        ["design.v"], "design.whole", SERIES7, directory, keep=keep, watch=lambda *event: seen.append(event)
    )
    assert units == [  # 16 for the two exclusive ors, 1 for the inverter
        Unit("design.whole", {"lut": 17, "ff": 24, "dsp": 1, "bram36": 1}),
        Unit("part", {"lut": 8, "ff": 8, "dsp": 0, "bram36": 0}),
    ]
    assert seen
    assert all(seconds > 0 for seconds, _ in seen)

    monkeypatch.setattr(synthesis.yosys, "run", None)
    assert synthesise(["design.v"], "design.whole", SERIES7, directory, keep=keep) == units
    result = directory / "synthesis_design.whole.json"
    kept = result.read_text()
    result.write_text(kept.replace("17", "18"))
    with pytest.raises(TypeError):  # not believed
        synthesise(["design.v"], "design.whole", SERIES7, directory, keep=keep)
    result.write_text(kept)
    (directory / "design.v").write_text(DESIGN.replace("a ^ b", "a & b"))
    with pytest.raises(TypeError):
        synthesise(["design.v"], "design.whole", SERIES7, directory, keep=keep)


def test_units_of_no_part(directory):
    units = synthesise(["design.v"], "design.whole", GENERIC, directory, keep=keep)
    assert [unit.name for unit in units] == ["design.whole", "part"]
    whole, part = (unit.used for unit in units)
    assert part == {"lut": 8, "ff": 8, "multiplier": 0, "memory": 0}
    assert whole["multiplier"] == 1
    assert whole["memory"] == 36 * 1024
    assert whole["ff"] >= 24 + 16  # and the memory's output register, if yosys leaves it outside


def test_the_running_pass_is_the_last_one_in_the_log(tmp_path):
    log = tmp_path / "a.log"
    log.write_text(
        "1. Executing Verilog-2005 frontend: a.v\n2.12.3. Executing OPT_EXPR pass (perform const folding).\n"
    )
    assert yosys._running(log) == "OPT_EXPR"
    assert yosys._running(tmp_path / "none") == ""


def test_yosys_errors_have_its_words(tmp_path):
    with pytest.raises(yosys.YosysError, match=r"status 1 in bad\.ys: ERROR: No such command: nonsense"):
        yosys.run("bad", "nonsense\n", tmp_path)


def test_areas_of_a_library(directory):
    """The area of the whole holds its units', and is what its cells have; memories that are macros have none."""
    memory = "reg [35:0] mem [0:1023];"
    text = DESIGN.replace(memory, "").replace(
        "mem[at] <= {4{a, 1'b1}}; q <= mem[at ^ 10'd1]; p <= a * b;", "p <= a & b;"
    )
    macro = "wire [35:0] r; ram banks(.clk(clk), .at(at), .r(r)); always @(posedge clk) q <= r;\nendmodule\n"
    stub = "(* blackbox *) module ram(input clk, input [9:0] at, output [35:0] r); endmodule\n"
    (directory / "design.v").write_text(stub + text.rstrip().removesuffix("endmodule") + macro)
    library = read([TINY])
    library.put(directory)
    process = family(library, "ram".__eq__, period=10)
    whole, part = synthesise(["design.v"], "design.whole", process, directory, keep=keep)
    assert part.used["area"] >= 8 * 10 + 8 * 3  # eight registers, eight exclusive ors
    assert whole.used["area"] == 2 * part.used["area"] + (8 + 36 + 8) * 10 + 8 * (3 + 1)  # eight ands
    assert whole.used["cell"] == 2 * part.used["cell"] + 8 + 36 + 8 + 8 * 2
    assert whole.used["macro"] == 1
    flat = (directory / NETLIST).read_text()
    assert "part " not in flat.replace("part.", "")  # no instance of a unit is left
    assert flat.count("DFF ") == 2 * 8 + 8 + 36 + 8

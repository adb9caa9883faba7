"""python -m hw.build: what it writes, says and returns."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hw.boards.fabric import SERIES7
from hw.boards.registry import BOARDS
from hw.build import clock, command, opensta, project, synthesis
from hw.build.timing import Path as TimingPath
from hw.build.yosys import run
from hw.soc import LINKS
from tests.support.build import CORE, LINK, with_shell, without_litex

SMALL = {"cols": 2, "tokens": 16, "banks": 2, "bank_words": 64, "lanes": 1, "drain_lanes": 1, "stream_words": 64,
         "queue_depth": 4, "max_row": 64, "burst_beats": 4}  # fmt: skip
SETTINGS = [f"--set={key}={value}" for key, value in SMALL.items()]
TINY_LIBRARY = Path(__file__).parents[1] / "data" / "liberty" / "tiny.lib"
KNOWN = "arty_a7, arty_a7_100, genesys2, ulx3s_85f, verilog, tiny"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], f"which board? --board takes {KNOWN}"),
        (["--board", "zybo"], f"unknown board 'zybo'; known boards: {KNOWN}"),
        (["--board", "arty_a7", "--set", "row=8"], "unknown config key 'row'; known keys: rows, cols, "),
        (["--board", "arty_a7", "--set", "rows"], "--set wants key=value, not 'rows'"),
        (["--board", "arty_a7", "--set", "rows=many"], "rows must be an integer, not 'many'"),
        (["--board", "arty_a7", "--set", "rows=12"], "rows must be a power of two from 8 to 32, not 12"),
        (
            ["--board", "arty_a7", "--set", "array=ecp5"],
            "dsp48 or portable on arty_a7, whose fabric is 7-series, not",
        ),
        (["--board", "ulx3s_85f", "--set", "array=dsp48"], "array must be ecp5 or portable on ulx3s_85f"),
        (["--board", "arty_a7", "--set", "small_products=bram"], "small_products must be one of dsp, lut, not 'bram'"),
        (["--board", "arty_a7", "--set", "cols=16"], "the array alone takes 128 DSP48E1, and arty_a7 (xc7a35ti"),
        (
            ["--board", "arty_a7", "--set", "burst_beats=256", "--set", "stream_words=128"],
            "hold a burst (256)",
        ),
        (["--board", "arty_a7", "--set", "banks=8"], "the scratchpad alone takes 56.8889 BRAM36, and arty_a7 (xc7"),
        (["--board", "arty_a7", "--toolchain", "vivado"], "toolchain vivado lacks vivado; install AMD Vivado"),
        (["--board", "arty_a7", "--toolchain", "openxc7"], "lacks nextpnr-himbaechel or nextpnr-xilinx, fasm2frames, "),
        (["--board", "ulx3s_85f", "--toolchain", "nextpnr-ecp5"], "or yowasp-ecppack; pip install -e .[boards]"),
        (["--board", "ulx3s_85f", "--toolchain", "vivado"], "does not know ulx3s_85f; it takes nextpnr-ecp5, yosys"),
        (
            ["--board", "ulx3s_85f", "--link", "both"],
            "ulx3s_85f has no Ethernet here, so --link must be uart, not both",
        ),
    ],
)
@pytest.mark.usefixtures("no_tools")
def test_bad_input_is_refused_in_one_sentence(arguments, message, tmp_path, capsys):
    assert command.main([*arguments, "--out", str(tmp_path / "out")]) == 2
    output = capsys.readouterr()
    assert message in output.err
    assert output.err.startswith("error: ")
    assert output.err.count("\n") == 1
    assert not output.out
    assert not (tmp_path / "out").exists()


def test_a_file_is_no_directory(tmp_path, capsys):
    (tmp_path / "out").write_text("mine")
    assert command.main(["--board", "verilog", "--out", str(tmp_path / "out")]) == 2
    assert "--out must be a directory, and " in capsys.readouterr().err
    assert (tmp_path / "out").read_text() == "mine"


def test_list_and_dry_run(tmp_path, capsys):
    assert command.main(["--list"]) == 0
    listed = capsys.readouterr().out
    for board in BOARDS.values():
        assert board.name in listed
        assert board.part in listed
    assert command.main(["--board", "arty_a7", "--set", "cols=4", "--dry-run", "--out", str(tmp_path / "out")]) == 0
    assert "16 x 4 int8 array" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def wiring(name, link, directory):
    """What yosys says of a board's top: every port of core and shell connected, at its width, nothing undriven."""
    board = BOARDS[name]
    made = project.write_project(board.config, board, directory, link=link, seed=1)
    ecp5 = made.top.endswith(".il")
    models = ("ecp5/cells_sim.v", "ecp5/cells_bb.v") if ecp5 else ("xilinx/cells_sim.v", "xilinx/cells_xtra.v")
    script = "".join(f"read_verilog -lib +/{model}\n" for model in models)
    script += f"read_verilog {project.TOP_CELLS}\nread_{'rtlil' if ecp5 else 'verilog'} {made.top}\n"
    script += "hierarchy -check -top top\nproc\n"
    run("wiring", f"{script}check -assert top\n", directory)
    return (directory / "wiring.log").read_text()


@pytest.mark.parametrize(
    ("name", "link"), [("arty_a7", link) for link in LINKS] + [("genesys2", "uart"), ("ulx3s_85f", "uart")]
)
def test_wiring(name, link, tmp_path, monkeypatch):
    with_shell(monkeypatch)
    (tmp_path / "shiftwork.v").write_text("")
    log = wiring(name, link, tmp_path)
    assert "Warning" not in log
    assert "Resizing" not in log


def test_real_core(tmp_path, monkeypatch, capsys):
    """A small core from elaboration to report: the same bytes whatever the hash seed, nothing redone when repeated."""
    out, again = tmp_path / "out", tmp_path / "again"
    arguments = ["--board", "verilog", *SETTINGS, "--out"]
    assert command.main([*arguments, str(out)]) == 0
    report = json.loads((out / "report.json").read_text())
    assert report["stage"] == "synthesised"
    assert report["config"]["cols"] == 2
    assert report["used"]["multiplier"] >= report["units"]["shiftwork.core.matmul.array"]["multiplier"] == 32
    assert report["used"]["memory"] >= 2 * 64 * 128 == report["units"]["shiftwork.core.scratchpad"]["memory"]
    printed = capsys.readouterr().out
    for name in ("sequencer", "csr", "fetch", "load", "matmul", "  array", "  drain", "  shiftmax", "scratchpad"):
        assert name in printed

    verilog = (out / "shiftwork.v").read_text()
    assert set(re.findall(r"\(\* (\w+)", verilog)) == {"no_rw_check", "ram_style"}  # of memories, and nothing else

    again.mkdir()
    code = (
        "import sys; from pathlib import Path; from hw.boards.registry import BOARDS; from hw.spec.config import "
        "override; from hw.build.verilog import write_core; board = BOARDS['verilog']; "
        "write_core(override(board.config, "
        f"{ {key: str(value) for key, value in SMALL.items()} }), board, Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", code, str(again)], check=True, env={**os.environ, "PYTHONHASHSEED": "7"})
    assert (again / "shiftwork.v").read_bytes() == (out / "shiftwork.v").read_bytes()
    assert (out / "shiftwork.sdc").read_text() == "create_clock -name clk -period 10 [get_ports clk]\n"

    monkeypatch.setattr(synthesis.yosys, "run", None)
    assert command.main([*arguments, str(out)]) == 0
    assert json.loads((out / "report.json").read_text()) == report


@pytest.mark.usefixtures("no_tools", "quick")
@pytest.mark.parametrize("board", ["arty_a7", "verilog"])
def test_area(board, tmp_path, monkeypatch, capsys):
    """A row per unit and part, a panel per resource; shares of the part, or of the accelerator where there is none."""
    without_litex(monkeypatch)
    drawn = []
    for name in ("one.svg", "two.svg"):
        path = tmp_path / name
        assert command.main(["--board", board, "--out", str(tmp_path / "out"), "--area", str(path)]) == 0
        drawn.append(path.read_text())
    assert drawn[0] == drawn[1]
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    words = re.findall(r">([^<>]+)</text>", drawn[0])
    of = "the xc7a35ticsg324-1L" if board == "arty_a7" else "the accelerator"
    assert f"{BOARDS[board].title}: shares of {of}, synthesised by {report['tool']}" in words
    whole, used = report.get("available", report["used"]), report["units"]["shiftwork.core.csr"]
    for key, heading in BOARDS[board].fabric.columns.items():
        assert f"{heading}: {whole[key]:,}" in words
        assert words.count(f"{used[key]:,} ({100 * used[key] / whole[key]:.1f} %)") >= 2  # the unit, and everything
    rows = ["csr", "accelerator", *(("link", "system, no shell") if board == "arty_a7" else ())]
    assert [word for word in words if word in {*rows, "core", "shell"}] == rows
    capsys.readouterr()


def test_an_area_that_cannot_be_drawn(tmp_path, capsys):
    board = ["--board", "verilog", "--out", str(tmp_path / "out")]
    assert command.main([*board, "--area", "area.gif"]) == 2
    assert "--area wants a file whose name ends in .svg or .png, not area.gif" in capsys.readouterr().err
    assert command.main([*board, "--area", "area.svg", "--program"]) == 2
    assert "there is nothing for --area to draw" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert command.main([*board, "--area", str(tmp_path / "no" / "area.svg")]) == 2
    assert "there is no directory" in capsys.readouterr().err


@pytest.mark.usefixtures("no_tools")
def test_project_without_litex(tmp_path, monkeypatch, capsys, quick):
    """All but the shell is there, and the output says how to get that; the system is counted without it."""
    without_litex(monkeypatch)
    (tmp_path / "shell.v").write_text("of an earlier build")
    assert command.main(["--board", "arty_a7", "--out", str(tmp_path)]) == 0
    assert quick == [
        (BOARDS["arty_a7"].config, False),
        (["shiftwork.v"], "shiftwork", SERIES7),
        (["top_cells.v", "top.v"], "top", SERIES7),
    ]
    output = capsys.readouterr().out
    assert "needs LiteX: pip install -e .[boards]" in output
    assert "vivado: lacks vivado; install AMD Vivado" in output
    assert "openxc7: lacks nextpnr-himbaechel or nextpnr-xilinx, fasm2frames, xc7frames2bit, the variable" in output
    assert "system, no shell" in output
    assert not (tmp_path / "shell.v").exists()
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["system"]["used"] == {key: CORE[key] + LINK[key] for key in CORE}
    assert report["percent"] == {"lut": 62.5, "ff": 33.65, "dsp": 98.89, "bram36": 75.0}
    assert report["available"] == {"lut": 20_800, "ff": 41_600, "dsp": 90, "bram36": 50}
    assert report["fits"]
    constraints = (tmp_path / "top.xdc").read_text()
    assert 'create_clock -name clk100_0__io -period 10.0 [get_nets "clk100_0__io"]' in constraints
    assert 'set_property IN_TERM "UNTUNED_SPLIT_40" [get_ports "ddr3_0__dqs__p\\[1]"]' in constraints
    for port in ("uart_0__tx__io", "led_3__io", "ddr3_0__dq__io\\[15]", "rst_0__io"):
        assert f'[get_ports "{port}"]' in constraints
    assert "create_project -force -name top -part xc7a35ticsg324-1L" in (tmp_path / "top.tcl").read_text()
    for name in ("shell.v", "shiftwork.v", "shell.xdc"):
        assert name in (tmp_path / "top.tcl").read_text()


@pytest.mark.usefixtures("no_tools", "quick")
def test_a_clock_of_its_own(tmp_path, monkeypatch, capsys):
    """Both clocks are in the report; the crossing's constraints are of cells, pins and nets that the netlist has."""
    with_shell(monkeypatch)
    arguments = ["--board", "arty_a7", "--set", "clock=80", "--toolchain", "yosys", "--out", str(tmp_path)]
    assert command.main(arguments) == 0
    assert "80 MHz (memory controller and link 100 MHz)" in capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["clock_hz"], report["system_hz"]) == (80_000_000, 100_000_000)
    constraints, top = (tmp_path / "crossing.xdc").read_text(), (tmp_path / "top.v").read_text()
    core, system = (f"[get_clocks -of_objects [get_pins shell/{pin}]]" for pin in ("core_clk", "user_clk"))
    for one, other in ((core, system), (system, core)):
        assert f"set_max_delay -datapath_only -from {one} -to {other} 10.000\n" in constraints
    bodies = dict(re.findall(r"^module \\?(\S+?) ?\((.*?)^endmodule", top, re.MULTILINE | re.DOTALL))
    cells = re.findall(r"get_cells (\S+)/(\w+)_reg\[\*\]", constraints)
    assert len(cells) == 2 * 2 * 5
    for place, register in cells:
        assert re.search(rf"^  reg \[\d:0\] {register}\b", bodies["top." + place.replace("/", ".")], re.MULTILINE)
    assert re.search(r"^ *\.core_clk\(core_clk\)", top, re.MULTILINE)
    assert top.count('ram_style = "block"') == 2
    assert "create_clock -period 12.5 [get_nets core_clk]\n" in (tmp_path / "openxc7.xdc").read_text()
    assert "--freq 100 " in (tmp_path / "openxc7.sh").read_text()
    assert "crossing.xdc" in (tmp_path / "top.tcl").read_text()
    arguments[3] = "clock=100"
    assert command.main(arguments) == 0  # at one clock there is no crossing
    assert "crossing" not in (tmp_path / "top.v").read_text()


@pytest.mark.usefixtures("no_tools", "quick")
def test_a_clock_that_cannot_be_met(tmp_path, monkeypatch, capsys):
    """A faster one than the board's is estimated before anything is written; a slower one, or one of ECP5, is not."""
    with_shell(monkeypatch)
    asked, path = [], TimingPath(7.7, "vector.a", "vector.b.D", ())
    monkeypatch.setattr(clock, "core_paths", lambda config, count, _watch: asked.append(config) or [path] * count)
    out = tmp_path / "out"
    arguments = ["--board", "arty_a7", "--toolchain", "yosys", "--out", str(out), "--set"]
    assert command.main([*arguments, "clock=150"]) == 1
    assert capsys.readouterr().err == (
        "error: clock=150 cannot be met on arty_a7: the accelerator's longest path, from vector.a to vector.b.D, is "
        "estimated at 7.70 ns, which is 130 MHz\n"
    )
    assert not list(out.iterdir())
    assert command.main([*arguments, "clock=129"]) == 0
    assert len(asked) == 2
    assert command.main([*arguments, "clock=90"]) == 0
    arguments[1] = "ulx3s_85f"
    assert command.main([*arguments, "clock=60"]) == 0
    assert len(asked) == 2


def test_liberty(tmp_path, capsys, quick, monkeypatch):
    """The libraries are copied to where yosys sees them; memories are macros then."""
    out = tmp_path / "out"
    monkeypatch.setattr(opensta, "tool", lambda: None)
    assert command.main(["--board", "verilog", "--liberty", str(TINY_LIBRARY), "--out", str(out)]) == 0
    (config, macros), (sources, top, family) = quick
    assert (config, macros) == (BOARDS["verilog"].config, True)
    assert (sources, top) == (["shiftwork_sram_stub.v", "shiftwork.v"], "shiftwork")
    assert (out / family.libraries[0]).read_text() == TINY_LIBRARY.read_text()
    assert list(family.columns) == ["area", "cell", "macro"]
    assert family.resource("shiftwork_sram") == ("macro", 1)
    report = json.loads((out / "report.json").read_text())
    assert report["library"] == "tiny.lib"
    assert report["asic"]["kge"] == pytest.approx(90 / 3 / 1000)
    said = " ".join(capsys.readouterr().out.split())
    assert "areas as in tiny.lib" in said
    assert "0.0 kGE of logic (NAND2 of 3)" in said
    monkeypatch.setenv("PDK_ROOT", str(tmp_path))
    assert command.main(["--board", "verilog", "--pdk", "sky130A", "--out", str(out)]) == 2
    assert "error: --pdk sky130A wants " in capsys.readouterr().err
    assert command.main(["--board", "arty_a7", "--pdk", "sky130A", "--out", str(out)]) == 2
    assert "are for the board verilog, not arty_a7" in capsys.readouterr().err


@pytest.mark.usefixtures("no_tools", "quick")
def test_no_memory_port_of_that_width(tmp_path, capsys):
    assert command.main(["--board", "arty_a7", "--set", "rows=8", "--out", str(tmp_path)]) == 0
    assert "memory ports have 128 bits and rows=8 needs 64, so there is only the IP core" in capsys.readouterr().out
    assert not (tmp_path / "top.v").exists()


@pytest.mark.usefixtures("no_tools", "quick")
def test_what_does_not_fit_fails(tmp_path, monkeypatch, capsys):
    without_litex(monkeypatch)
    monkeypatch.setitem(CORE, "lut", 20_500)
    assert command.main(["--board", "arty_a7", "--out", str(tmp_path)]) == 1
    assert "does not fit the xc7a35ticsg324-1L" in capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())
    assert not report["fits"]
    assert report["percent"]["lut"] < 100 < report["system"]["percent"]["lut"]  # the core alone would


@pytest.mark.usefixtures("no_tools", "quick")
def test_failing_synthesis_leaves_no_report(tmp_path, monkeypatch, capsys):
    def fail(*_arguments, **_options):
        raise synthesis.yosys.YosysError("yosys stopped")

    without_litex(monkeypatch)
    (tmp_path / "report.json").write_text("of an earlier build")
    monkeypatch.setattr(command, "synthesise", fail)
    assert command.main(["--board", "arty_a7", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "error: yosys stopped\n"
    assert not (tmp_path / "report.json").exists()

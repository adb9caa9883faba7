"""Has LiteX make a board's shell: its Verilog, and what a host starts the memory with."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from firmware.files import write
from hw.boards.board import Board
from hw.shell.shell import ETHERNET, Ports

__all__ = ["CONSTRAINTS", "ETHERNET_CONSTRAINTS", "ShellError", "available", "generate", "generate_ethernet"]

CONSTRAINTS = """\
# Reset synchronizers and multi-bit crossings of LiteX, which marks them in shell.v.
set_false_path -quiet -through [get_nets -hierarchical -filter {mr_ff == TRUE}]
set_false_path -quiet -to [get_pins -filter {REF_PIN_NAME == PRE} -of_objects \
[get_cells -hierarchical -filter {ars_ff1 == TRUE || ars_ff2 == TRUE}]]
set_max_delay 2 -quiet -from [get_pins -filter {REF_PIN_NAME == C} -of_objects \
[get_cells -hierarchical -filter {ars_ff1 == TRUE}]] -to [get_pins -filter {REF_PIN_NAME == D} -of_objects \
[get_cells -hierarchical -filter {ars_ff2 == TRUE}]]
"""
"""For Vivado."""

ETHERNET_CONSTRAINTS = """\
# The MII's clocks; what crosses between them and the others is in FIFOs.
create_clock -name eth_rx -period 40 [get_ports eth_mii_0__rx_clk__io]
create_clock -name eth_tx -period 40 [get_ports eth_mii_0__tx_clk__io]
set_clock_groups -asynchronous -group [get_clocks eth_rx -include_generated_clocks] \
-group [get_clocks eth_tx -include_generated_clocks]
"""
"""For Vivado, with Ethernet."""

_DIRECTIONS = {"input": "i", "output": "o", "inout": "io"}
_COMMENT = re.compile(r"^/\*.*?^\*/\n|^//[^\n]*\n", re.MULTILINE | re.DOTALL)
_PORT = re.compile(r"^ *(input|output|inout) +(?:wire|reg)? *(?:\[(\d+):0\])? *(\w+)", re.MULTILINE)


class ShellError(RuntimeError):
    """LiteX failed, or made a shell with other ports than ours."""


def available(*, ethernet: bool = False) -> bool:
    """Is LiteX installed?"""
    packages = ("migen", "litex", "litedram", *(("liteeth",) if ethernet else ()))
    return all(importlib.util.find_spec(name) for name in packages)


def generate(board: Board, directory: Path, *, ethernet: bool = False) -> None:
    """Writes ``shell.v`` and what a host starts the memory with into `directory`.

    That is ``csr.json``, the addresses of the controller's registers, and ``dram.json``, the PHY's numbers and the
    commands of the start.
    Equal inputs give equal bytes. Raises ShellError.
    """
    described = {
        "part": board.part, "clock_hz": board.system_hz, "fabric": board.fabric.name, "shell": asdict(board.shell),
        "ethernet": ethernet, "core_hz": board.clock_hz if board.crossed and not board.shell.simulated else 0,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        _litex("litex_shell", name, json.dumps(described))
        verilog = (Path(name) / "gateware" / "shell.v").read_text()
        found = {file: (Path(name) / file).read_text() for file in ("csr.json", "dram.json")}
    verilog = _COMMENT.sub("", verilog)  # with the date, and a tree that is printed in another order every time
    ports = board.shell.ports(ethernet=ethernet, crossed=board.crossed)
    for name, (way, _) in ports.items():
        if way == "io":  # LiteX takes a bus whose every bit has a Lattice pad of its own for an input
            verilog = re.sub(rf"^( *)input( +wire[^,]* {name}\b)", r"\1inout\2", verilog, count=1, flags=re.MULTILINE)
    _check(verilog, "shell", ports)
    for name, text in {"shell.v": verilog, **found}.items():
        write(directory / name, text)


def generate_ethernet(clock_hz: float) -> str:
    """Verilog of the module ``ethernet`` with the ports `ETHERNET`, for a simulator: what a shell has of LiteEth.

    Equal inputs give equal text. Raises ShellError.
    """
    with tempfile.TemporaryDirectory() as name:
        file = Path(name, "ethernet.v")
        _litex("litex_ethernet", str(file), str(clock_hz))
        verilog = _COMMENT.sub("", file.read_text(encoding="utf-8"))
    _check(verilog, "ethernet", ETHERNET)
    return verilog


def _litex(module: str, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", f"hw.shell.{module}", *arguments],
        env={**os.environ, "PYTHONHASHSEED": "0"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise ShellError(f"LiteX could not make the shell: {done.stderr.strip().splitlines()[-1]}")


def _check(verilog: str, module: str, ports: Ports) -> None:
    header = verilog[verilog.index(f"module {module}") : verilog.index(");")]
    found = {name: (_DIRECTIONS[kind], int(high or 0) + 1) for kind, high, name in _PORT.findall(header)}
    if found != ports:
        other = sorted(name for name in found.keys() | ports.keys() if found.get(name) != ports.get(name))
        raise ShellError(f"this LiteX makes a shell with other ports than expected: {', '.join(other)}")

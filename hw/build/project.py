"""The board project around the IP core: top, shell, constraints, scripts."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from amaranth.lib.wiring import In

from firmware.files import write
from hw.boards.board import Board
from hw.build import toolchains
from hw.build.ecp5_map import ECP5_MAP
from hw.build.verilog import CORE
from hw.shell import generator
from hw.shell.shell import Ports
from hw.soc import System, core_members
from hw.spec.config import Config, ConfigError

__all__ = ["TOP_CELLS", "Project", "empty_module", "write_project"]

TOP_CELLS = "top_cells.v"  # accelerator and shell as empty modules, to synthesise the top without them

_WORDS = {"i": "input", "o": "output", "io": "inout"}


class Project(NamedTuple):
    """What was written."""

    top: str = ""  # file with the top, if there is one
    missing: str = ""  # in a sentence, what is missing around it, if anything


def write_project(config: Config, board: Board, directory: Path, *, link: str, seed: int) -> Project:
    """Writes the board's top, constraints and scripts around the core.

    Missing is, without LiteX, the shell; if no memory port is as narrow as the word, everything. The core alone has no
    project. Raises ShellError.
    """
    if board.platform is None or board.shell is None:
        return Project()
    try:
        board.configured(config).check_ports()
    except ConfigError as error:
        return Project(missing=f"{error}, so there is only the IP core")
    ethernet = link != "uart"
    platform = board.platform()
    platform.add_file(f"{CORE}.v", (directory / f"{CORE}.v").read_text())
    if board.fabric.xdc:
        platform.add_file("shell.xdc", generator.CONSTRAINTS + (generator.ETHERNET_CONSTRAINTS if ethernet else ""))
        if board.crossed:
            platform.add_file("crossing.xdc", toolchains.crossing_constraints(board))
    missing = ""
    if generator.available(ethernet=ethernet):
        generator.generate(board, directory, ethernet=ethernet)
    else:
        missing = (
            "shell.v, the memory controller that the top instantiates, needs LiteX: pip install -e .[boards], "
            "and build again"
        )
    platform.add_file("shell.v", (directory / "shell.v").read_text() if not missing else "")
    routed_here = toolchains.NEXTPNR_ECP5.name in board.toolchains
    options = toolchains.nextpnr_options(seed) if routed_here else {}
    with toolchains.yosys_for_amaranth():
        system = System(board, config, link=link)
        plan = platform.build(system, name="top", do_build=False, emit_src=False, **options)
    files = dict(plan.files)
    if missing:
        del files["shell.v"]
        (directory / "shell.v").unlink(missing_ok=True)
    if routed_here:
        files["ecp5_map.v"] = ECP5_MAP
    if toolchains.OPENXC7.name in board.toolchains:
        files |= toolchains.openxc7_files(board, files["top.xdc"])
    ports = board.shell.ports(ethernet=ethernet, crossed=board.crossed)
    files[TOP_CELLS] = empty_module("shell", ports) + empty_module(CORE, _core_ports(config))
    for name, content in files.items():
        if not name.endswith((".debug.v", ".bat")):
            write(directory / name, content)
    return Project(top=next(name for name in ("top.v", "top.il") if name in files), missing=missing)


def _core_ports(config: Config) -> Ports:
    pins = {name: ("i" if member.flow is In else "o", member.shape) for name, member in core_members(config).items()}
    return {"clk": ("i", 1), "rst": ("i", 1), **pins}


def empty_module(name: str, ports: Ports) -> str:
    """A module with these ports and nothing in it."""
    listed = ", ".join(f"{_WORDS[way]} [{bits - 1}:0] {port}" for port, (way, bits) in ports.items())
    return f"(* blackbox *) module {name} ({listed});\nendmodule\n"

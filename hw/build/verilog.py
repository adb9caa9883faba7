"""The IP core as Verilog."""

from __future__ import annotations

import hashlib
import sys
from importlib.metadata import version
from pathlib import Path

from amaranth.back import rtlil

from hw.accelerator import Accelerator
from hw.boards.board import Board
from hw.build import sram, yosys
from hw.spec.config import Config

__all__ = ["CORE", "write_core"]

CORE = "shiftwork"  # the IP core's module, and the stem of its files

_SCRIPT = f"""\
read_rtlil {CORE}.il
proc -nomux -norom
memory_collect
write_verilog -noattr -norename {CORE}.v
"""


def write_core(config: Config, board: Board, directory: Path, *, macros: bool = False) -> None:
    """Writes ``shiftwork.v`` and ``shiftwork.sdc``; equal inputs give equal bytes. Raises YosysError.

    With `macros`, large memories are instances of ``shiftwork_sram``, of which ``shiftwork_sram.v`` is the behaviour.
    Nothing is done if the Verilog there was made from the same sources, configuration and tools.
    """
    verilog, key = directory / f"{CORE}.v", directory / f"{CORE}.key"
    period = f"create_clock -name clk -period {1e9 / board.clock_hz:g} [get_ports clk]\n"
    (directory / f"{CORE}.sdc").write_text(period)
    if macros:
        (directory / f"{sram.NAME}.v").write_text(sram.MODEL)
    made_from = _digest(config, board, macros)
    if verilog.exists() and key.exists() and key.read_text() == f"{made_from} {_sha256(verilog)}\n":
        return
    key.unlink(missing_ok=True)
    top = Accelerator(config, primitives=board.fabric.primitives)
    platform = sram.SRAMs() if macros else None
    (directory / f"{CORE}.il").write_text(rtlil.convert(top, name=CORE, platform=platform, emit_src=False))
    yosys.run("verilog", _SCRIPT, directory)
    for scratch in (f"{CORE}.il", "verilog.ys", "verilog.log"):
        (directory / scratch).unlink()
    key.write_text(f"{made_from} {_sha256(verilog)}\n")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _digest(config: Config, board: Board, macros: bool) -> str:
    package = Path(__file__).parents[1]
    sources = "".join(f"{path.relative_to(package)}\n{path.read_text()}" for path in sorted(package.rglob("*.py")))
    tools = f"{version('amaranth')} {yosys.tool()} {sys.version}"
    return hashlib.sha256(f"{config} {board.fabric.primitives} {macros} {tools} {sources}".encode()).hexdigest()

"""The IP core as Verilog."""

from __future__ import annotations

import re
import sys
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from amaranth.back import rtlil

from firmware.caches import digest, is_whole, seal, sources
from firmware.files import write
from hw.accelerator import Accelerator
from hw.boards.board import Board
from hw.build import sram, yosys
from hw.spec.config import Config

__all__ = ["CORE", "as_verilog", "write_core"]

CORE = "shiftwork"  # the IP core's module, and the stem of its files

_SCRIPT = """\
read_rtlil {name}.il
proc -nomux -norom
memory_collect
write_verilog -norename {name}.v
"""
# What synthesis is told of a memory stays; the rest is of the tools that the text came from.
_ATTRIBUTE = re.compile(rb"^ *\(\*(?! (?:ram_style|no_rw_check) = ).*\*\)\n", re.MULTILINE)


def write_core(config: Config, board: Board, directory: Path, *, macros: bool = False) -> None:
    """Writes ``shiftwork.v`` and ``shiftwork.sdc``; equal inputs give equal bytes. Raises YosysError.

    With `macros`, large memories are instances of ``shiftwork_sram``, of which ``shiftwork_sram.v`` is the behaviour.
    Nothing is done if the Verilog there was made from the same sources, configuration and tools.
    """
    verilog, key = directory / f"{CORE}.v", directory / f"{CORE}.key"
    period = f"create_clock -name clk -period {1e9 / board.clock_hz:g} [get_ports clk]\n"
    write(directory / f"{CORE}.sdc", period)
    if macros:
        write(directory / f"{sram.NAME}.v", sram.MODEL)
    made_from = _digest(config, board, macros)
    if is_whole(verilog, made_from, key):
        return
    key.unlink(missing_ok=True)
    top = Accelerator(config, primitives=board.fabric.primitives)
    platform = sram.SRAMs() if macros else None
    with TemporaryDirectory(prefix=".verilog-", dir=directory) as name:
        scratch = Path(name)
        write(verilog, as_verilog(rtlil.convert(top, name=CORE, platform=platform, emit_src=False), CORE, scratch))
    seal(verilog, made_from, key)


def as_verilog(text: str, name: str, scratch: Path) -> bytes:
    """RTLIL of a module `name` as the Verilog that we ship; `scratch` is an empty directory.

    Of attributes it has those of memories alone (`hw.units.memory_attributes`, ``ram_style``).
    """
    write(scratch / f"{name}.il", text)
    yosys.run("verilog", _SCRIPT.format(name=name), scratch)
    return _ATTRIBUTE.sub(b"", (scratch / f"{name}.v").read_bytes())


def _digest(config: Config, board: Board, macros: bool) -> str:
    tools = f"{version('amaranth')} {yosys.tool()} {sys.version}"
    return digest(f"{config} {board.fabric.primitives} {macros}", tools, sources(Path(__file__).parents[1]))

"""The IP core as Verilog, and the board project around it."""

from __future__ import annotations

import hashlib
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from amaranth.back import rtlil

from hw import toolchains, yosys
from hw.accelerator import Accelerator
from hw.boards import shell
from hw.boards.board import Board
from hw.soc import System

__all__ = ["CORE", "write_core", "write_project"]

CORE = "shiftwork"  # the IP core's module, and the stem of its files

_SCRIPT = f"""\
read_rtlil {CORE}.il
proc -nomux -norom
memory_collect
write_verilog -noattr -norename {CORE}.v
"""


def write_core(config: Any, board: Board, directory: Path) -> None:
    """Writes ``shiftwork.v`` and ``shiftwork.sdc``; equal inputs give equal bytes. Raises YosysError.

    Nothing is done if the Verilog there was made from the same sources, configuration and tools.
    """
    verilog, key = directory / f"{CORE}.v", directory / f"{CORE}.key"
    period = f"create_clock -name clk -period {1e9 / board.clock_hz:g} [get_ports clk]\n"
    (directory / f"{CORE}.sdc").write_text(period)
    made_from = _digest(config, board)
    if verilog.exists() and key.exists() and key.read_text() == f"{made_from} {_sha256(verilog)}\n":
        return
    key.unlink(missing_ok=True)
    top = Accelerator(config, primitives=board.primitives)
    (directory / f"{CORE}.il").write_text(rtlil.convert(top, name=CORE, emit_src=False))
    yosys.run("verilog", _SCRIPT, directory)
    for scratch in (f"{CORE}.il", "verilog.ys", "verilog.log"):
        (directory / scratch).unlink()
    key.write_text(f"{made_from} {_sha256(verilog)}\n")


def write_project(config: Any, board: Board, directory: Path) -> str:
    """Writes the board's top, constraints and scripts around the core; says in a sentence what is missing, if anything.

    Without LiteX that is the shell; if no memory port is as wide as the word, everything. The core alone has no
    project. Raises ShellError.
    """
    if board.platform is None:
        return ""
    if config.word_bits != shell.DATA_BITS:
        return (
            f"the board's memory port has {shell.DATA_BITS} bits and rows={config.rows} needs {config.word_bits}, "
            "so there is only the IP core"
        )
    platform = board.platform()
    platform.add_file(f"{CORE}.v", (directory / f"{CORE}.v").read_text())
    platform.add_file("shell.xdc", shell.CONSTRAINTS)
    missing = ""
    if shell.available():
        shell.generate(directory, clock_hz=board.clock_hz, baud=board.baud)
    else:
        missing = (
            "shell.v, the memory controller and host link that top.v instantiates, needs LiteX: "
            "pip install -e .[boards], and build again"
        )
    platform.add_file("shell.v", (directory / "shell.v").read_text() if not missing else "")
    with toolchains.yosys_for_amaranth():
        plan = platform.build(System(word_bits=config.word_bits), name="top", do_build=False, emit_src=False)
    files = dict(plan.files)
    if missing:
        del files["shell.v"]
        (directory / "shell.v").unlink(missing_ok=True)
    files |= toolchains.openxc7_files(board.part, board.clock_hz, files["top.xdc"])
    for name, content in files.items():
        if not name.endswith((".debug.v", ".bat")):
            (directory / name).write_text(content)
    return missing


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _digest(config: Any, board: Board) -> str:
    package = Path(__file__).parent
    sources = "".join(f"{path.relative_to(package)}\n{path.read_text()}" for path in sorted(package.rglob("*.py")))
    tools = f"{version('amaranth')} {yosys.tool()} {sys.version}"
    return hashlib.sha256(f"{config} {board.primitives} {tools} {sources}".encode()).hexdigest()

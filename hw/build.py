"""Command line: python -m hw.build --board NAME: Verilog, constraints, scripts, synthesis report, bitstream."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from amaranth.back import rtlil
from rich.console import Console
from rich.table import Table

from hw import yosys
from hw.accelerator import Accelerator
from hw.boards.board import Board, Capacity
from hw.boards.registry import BOARDS
from hw.spec.config import Config, ConfigError, override
from hw.synthesis import Unit, synthesise

__all__ = ["main", "write_core"]

TOP = "shiftwork"  # the IP core's module name
_RESOURCES = (("lut", "LUT"), ("ff", "FF"), ("dsp", "DSP48E1"), ("bram36", "BRAM36"))


def write_core(config: Config, board: Board, directory: Path) -> None:
    """Writes the IP core's Verilog, ``shiftwork.v``; equal inputs give equal bytes."""
    top = Accelerator(config, primitives=board.primitives)
    (directory / f"{TOP}.il").write_text(rtlil.convert(top, name=TOP, emit_src=False))
    script = f"read_rtlil {TOP}.il\nproc -nomux -norom\nmemory_collect\nwrite_verilog -noattr -norename {TOP}.v\n"
    yosys.run("verilog", script, directory)


def main(arguments: list[str] | None = None) -> int:
    """Runs one build; bad input gives one sentence on stderr and status 2."""
    options = _parser().parse_args(arguments)
    try:
        if options.list:
            return _list()
        return _build(options)
    except (BuildError, ConfigError, yosys.YosysError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


class BuildError(ValueError):
    """A build that cannot be made; the message says what was asked and what there is."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hw.build", description="board name -> gateware and reports")
    parser.add_argument("--board", help="board to build for; see --list")
    parser.add_argument("--list", action="store_true", help="list the boards and stop")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a Config field")
    parser.add_argument("--out", type=Path, help="output directory (default build/BOARD)")
    parser.add_argument("--dry-run", action="store_true", help="say what would be built, write nothing")
    return parser


def _list() -> int:
    table = Table(title="boards")
    for heading in ("name", "board", "part", "clock", "array", "scratchpad"):
        table.add_column(heading)
    for board in BOARDS.values():
        config = board.config
        table.add_row(
            board.name, board.title, board.part, f"{board.clock_hz / 1e6:g} MHz",
            f"{config.rows} x {config.cols} int8", f"{config.scratch_bytes // 1024} KiB",
        )  # fmt: skip
    Console().print(table)
    return 0


def _settings(texts: list[str]) -> dict[str, str]:
    settings = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--set wants key=value, not {text!r}")
        settings[key] = value
    return settings


def _build(options: argparse.Namespace) -> int:
    if options.board not in BOARDS:
        raise BuildError(f"unknown board {options.board!r}; known boards: {', '.join(BOARDS)}")
    board = BOARDS[options.board]
    config = override(board.config, _settings(options.set))
    out: Path = options.out or Path("build") / board.name
    console = Console()
    console.print(
        f"{board.title} ({board.part}), {config.rows} x {config.cols} int8 array, "
        f"{config.scratch_bytes // 1024} KiB scratchpad, fingerprint {config.fingerprint:#010x}"
    )
    if options.dry_run:
        console.print(f"would write {TOP}.v, the board project and report.json to {out}; nothing was written")
        return 0
    out.mkdir(parents=True, exist_ok=True)
    write_core(config, board, out)
    console.print(f"wrote {out / (TOP + '.v')}; synthesising with {yosys.tool()} (a few minutes)")
    units = synthesise(f"{TOP}.v", TOP, board.synthesis, out)
    report = _report(board, config, units)
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    _print(console, board, units)
    console.print(f"wrote {out / 'report.json'}")
    return 0 if report["fits"] else 1


def _report(board: Board, config: Config, units: list[Unit]) -> dict[str, Any]:
    used, free = units[0].used, board.capacity - board.reserve
    return {
        "board": board.name,
        "part": board.part,
        "stage": "synthesised",
        "tool": yosys.tool(),
        "config": asdict(config),
        "fingerprint": config.fingerprint,
        "clock_hz": board.clock_hz,
        "available": asdict(board.capacity),
        "reserved": {**asdict(board.reserve), "for": board.reserve_source},
        "used": asdict(used),
        "percent": {key: 100 * getattr(used, key) / getattr(board.capacity, key) for key, _ in _RESOURCES},
        "fits": all(getattr(used, key) <= getattr(free, key) for key, _ in _RESOURCES),
        "units": {unit.name: asdict(unit.used) for unit in units},
    }


def _row(name: str, used: Capacity, available: Capacity) -> list[str]:
    cells = [f"{getattr(used, k):g} ({getattr(used, k) / getattr(available, k):.1%})" for k, _ in _RESOURCES]
    return [name, *cells]


def _print(console: Console, board: Board, units: list[Unit]) -> None:
    table = Table(title=f"{board.title}: synthesised by {yosys.tool()}, hierarchy kept (upper bounds)")
    table.add_column("unit")
    for _, heading in _RESOURCES:
        table.add_column(heading, justify="right")
    for unit in units[1:]:
        depth = unit.name.count(".")
        if depth <= 3:
            table.add_row(*_row("  " * depth + unit.name.rpartition(".")[2], unit.used, board.capacity))
    table.add_section()
    table.add_row(*_row("accelerator", units[0].used, board.capacity))
    table.add_row(*_row("reserved for memory controller and link", board.reserve, board.capacity))
    table.add_row("available", *(f"{getattr(board.capacity, key):g}" for key, _ in _RESOURCES))
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())

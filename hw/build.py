"""Command line: python -m hw.build --board NAME: Verilog, constraints, scripts, synthesis report, bitstream."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from hw import yosys
from hw.boards.board import Board
from hw.boards.registry import BOARDS
from hw.boards.shell import ShellError
from hw.report import make_report, unit_table
from hw.spec.config import Config, ConfigError, override, parse_settings
from hw.synthesis import synthesise
from hw.toolchains import TOOLCHAINS, Toolchain, ToolchainError
from hw.verilog import CORE, write_core, write_project

__all__ = ["BuildError", "is_unit", "main"]

_DIVIDED = ("matmul", "vector")  # engines large enough to be shown by their parts


class BuildError(ValueError):
    """A build that cannot be made; the message says what was asked and what there is."""


def is_unit(module: str) -> bool:
    """Is this a module that the report shows by itself?"""
    parts = module.split(".")[1:]
    return len(parts) <= 2 or (len(parts) == 3 and parts[1] in _DIVIDED)


def main(arguments: list[str] | None = None) -> int:
    """Runs one build. Status 1: a tool failed or the design does not fit; 2: bad input, and nothing was written."""
    console = Console(markup=False, highlight=False)
    options = _parser().parse_args(arguments)
    if options.list:
        console.print(_list())
        return 0
    try:
        board, config, toolchain = _checked(options)
        out = _output(options, board)
    except (BuildError, ConfigError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    console.print(_summary(board, config), soft_wrap=True)
    if options.dry_run:
        console.print(
            f"would write Verilog, constraints, scripts and report.json to {out}; wrote nothing", soft_wrap=True
        )
        return 0
    try:
        return _build(console, board, config, toolchain, out)
    except (yosys.YosysError, ShellError, ToolchainError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hw.build", description="board name -> gateware and reports")
    parser.add_argument("--board", help="board to build for; see --list")
    parser.add_argument("--list", action="store_true", help="list the boards and stop")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a Config field")
    parser.add_argument("--out", type=Path, help="output directory (default build/BOARD)")
    parser.add_argument("--toolchain", choices=("auto", *TOOLCHAINS), default="auto", help="for place and route")
    parser.add_argument("--dry-run", action="store_true", help="say what would be built, write nothing")
    return parser


def _list() -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "board", "part", "MHz", "array", "KiB"):
        table.add_column(heading, no_wrap=True)
    for board in BOARDS.values():
        config = board.config
        table.add_row(
            board.name, board.title, board.part, f"{board.clock_hz / 1e6:g}",
            f"{config.rows} x {config.cols}", f"{config.scratch_bytes // 1024}",
        )  # fmt: skip
    return table


def _checked(options: argparse.Namespace) -> tuple[Board, Config, Toolchain | None]:
    """What to build with which tools; None if no toolchain is complete."""
    known = ", ".join(BOARDS)
    if options.board is None:
        raise BuildError(f"which board? --board takes {known}")
    if options.board not in BOARDS:
        raise BuildError(f"unknown board {options.board!r}; known boards: {known}")
    board = BOARDS[options.board]
    config = override(board.config, parse_settings(options.set))
    if options.toolchain == "auto":
        return board, config, next((t for t in TOOLCHAINS.values() if not t.missing()), None)
    toolchain = TOOLCHAINS[options.toolchain]
    if toolchain.missing():
        raise BuildError(f"toolchain {toolchain.name} lacks {toolchain.missing()}; {toolchain.how}")
    return board, config, toolchain


def _output(options: argparse.Namespace, board: Board) -> Path:
    out: Path = options.out or Path("build") / board.name
    if out.exists() and not out.is_dir():
        raise BuildError(f"--out must be a directory, and {out} is a file")
    if not options.dry_run:
        out.mkdir(parents=True, exist_ok=True)
    return out


def _summary(board: Board, config: Config) -> str:
    return (
        f"{board.title}{f' ({board.part})' if board.part else ''}: {config.rows} x {config.cols} int8 array, "
        f"{config.scratch_bytes // 1024} KiB scratchpad, {board.clock_hz / 1e6:g} MHz, "
        f"fingerprint {config.fingerprint:#010x}"
    )


def _build(console: Console, board: Board, config: Config, toolchain: Toolchain | None, out: Path) -> int:
    (out / "report.json").unlink(missing_ok=True)  # the last one says nothing about what is there if this build stops
    with _step(console, "writing Verilog"):
        write_core(config, board, out)
        missing = write_project(config, board, out)
    with _step(console, "synthesising the accelerator") as watch:
        core = synthesise(f"{CORE}.v", CORE, board.family, out, keep=is_unit, watch=watch)
    shell = []
    if board.platform and not missing:
        with _step(console, "synthesising the memory controller and link") as watch:
            shell = synthesise("shell.v", "shell", board.family, out, watch=watch)
    report = make_report(board, config, core, shell, missing)
    _save(report, out)
    console.print(unit_table(board, report))
    console.print(f"{out} has {', '.join(sorted(_made(out)))}", soft_wrap=True)
    return _place_and_route(console, board, toolchain, report, out)


def _place_and_route(
    console: Console, board: Board, toolchain: Toolchain | None, report: dict[str, Any], out: Path
) -> int:
    """Makes the bitstream if everything is there, else says what is not. The status of the build."""
    if board.platform is None:
        return 0
    fits = report["fits"]
    if report["missing"]:
        console.print(f"no bitstream: {report['missing']}", soft_wrap=True)
    if not fits:
        console.print(f"no bitstream: this does not fit the {board.part}", soft_wrap=True)
    if toolchain is None:
        console.print("no bitstream: place and route needs the tools of one of these to be installed", soft_wrap=True)
        for known in TOOLCHAINS.values():
            console.print(f"  {known.name}: lacks {known.missing()}; {known.how}", soft_wrap=True)
    if report["missing"] or not fits or toolchain is None:
        return 0 if fits else 1
    with _step(console, f"placing and routing with {toolchain.name}"):
        report["routed"] = toolchain.run(out)
    _save(report, out)
    console.print_json(data=report["routed"])
    if not report["routed"].get("meets_timing"):
        console.print(f"top.bit does not meet timing at {board.clock_hz / 1e6:g} MHz", soft_wrap=True)
        return 1
    return 0


def _save(report: dict[str, Any], out: Path) -> None:
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n")


def _made(out: Path) -> Iterator[str]:
    logs = ("synthesis_", f"{CORE}.key")
    return (path.name for path in out.iterdir() if path.is_file() and not path.name.startswith(logs))


@contextmanager
def _step(console: Console, what: str) -> Generator[yosys.Watch, None, None]:
    """Shows on a terminal that, and how long, something runs; elsewhere one line."""
    if not console.is_terminal:
        console.print(f"{what} ...")
        yield lambda _seconds, _pass: None
        return
    with console.status(what) as status:
        yield lambda seconds, name: status.update(f"{what}: {seconds:.0f} s, {name.lower()}")


if __name__ == "__main__":
    sys.exit(main())

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

from firmware.errors import UserError
from firmware.files import check, check_directory, write, writing
from firmware.plots import plot_kind, save_figure
from firmware.progress import step
from firmware.screen import INTERRUPTED, any_letters, show
from hw.axi.narrower import BURST_BEATS
from hw.boards.board import Board
from hw.boards.registry import find, installed
from hw.build import liberty, opensta, sram, yosys
from hw.build.area import area_figure
from hw.build.asic import asic_lines, asic_report
from hw.build.clock import ClockError, check_clock
from hw.build.liberty import Library, read
from hw.build.pdk import PDKS, liberty_files
from hw.build.project import TOP_CELLS, write_project
from hw.build.report import add_routed, make_report, unit_table
from hw.build.synthesis import synthesise
from hw.build.toolchains import TOOLCHAINS, Toolchain, ToolchainError, missed, program
from hw.build.verilog import CORE, write_core
from hw.link.uart import uart_divisor
from hw.shell.generator import ShellError
from hw.shell.shell import IP_ADDRESS
from hw.soc import LINKS
from hw.spec.config import Config, ConfigError, parse_settings
from hw.spec.link import BAUD

__all__ = ["BuildError", "is_unit", "main", "parser"]

_STOP = "yosys"  # the toolchain that ends before place and route
_DIVIDED = ("matmul", "vector")  # engines large enough to be shown by their parts, of several slices the first one's


class BuildError(ValueError):
    """A build that cannot be made; the message says what was asked and what there is."""


def is_unit(module: str) -> bool:
    """Is this a module that the report shows by itself?"""
    parts = module.split(".")[1:]
    return len(parts) <= 2 or (len(parts) == 3 and parts[1].removesuffix("_0") in _DIVIDED)


def main(arguments: list[str] | None = None, prog: str = "python -m hw.build") -> int:
    """Runs one build. Status 1: a tool failed or the design does not fit; 2: bad input, and nothing was written."""
    any_letters()
    console = Console(markup=False, highlight=False)
    options = parser(prog).parse_args(arguments)
    if options.list:
        show(_list(), console)
        return 0
    try:
        board, config, toolchain = _checked(options)
        out = _output(options, board)
    except (BuildError, ConfigError, UserError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    console.print(_summary(board, config), soft_wrap=True)
    if options.dry_run:
        console.print(
            f"would write Verilog, constraints, scripts and report.json to {out}; wrote nothing", soft_wrap=True
        )
        return 0
    try:
        if options.program:
            return _program(console, board, config, out)
        return _build(console, board, config, toolchain, out, options)
    except KeyboardInterrupt:
        print(f"interrupted; what is whole in {out} is not made again", file=sys.stderr)
        return INTERRUPTED
    except (ClockError, yosys.YosysError, opensta.TimingError, ShellError, ToolchainError, UserError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error.filename or out}: {error.strerror}", file=sys.stderr)
        return 1


def parser(prog: str = "python -m hw.build") -> argparse.ArgumentParser:
    """The command line's grammar."""
    about = (
        "Makes a board's accelerator: Verilog, constraints, synthesis report and, if tools are there, the bitstream."
    )
    top = argparse.ArgumentParser(prog=prog, description=about)
    top.add_argument("--board", help="board to build for; see --list")
    top.add_argument("--list", action="store_true", help="list the boards and stop")
    top.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a field of the board's Config, for another size of accelerator, or its clock in MHz",
    )
    top.add_argument("--link", choices=LINKS, help="how the host is connected (default: the board's)")
    top.add_argument("--out", type=Path, help="output directory (default build/BOARD)")
    top.add_argument(
        "--toolchain", choices=("auto", _STOP, *TOOLCHAINS), default="auto",
        help=f"for place and route; auto: the first one found that knows the part; {_STOP}: stop after synthesis",
    )  # fmt: skip
    top.add_argument("--seed", type=int, help="of the placer of nextpnr-ecp5 (default: the board's)")
    top.add_argument(
        "--sram", choices=("infer", "macro"), default="infer",
        help="of the board verilog: large memories as arrays of registers to infer, or as instances of shiftwork_sram",
    )  # fmt: skip
    process = top.add_mutually_exclusive_group()
    process.add_argument(
        "--liberty", type=Path, nargs="+", metavar="FILE",
        help="of the board verilog: report areas and delays in the process of these Liberty files, gzipped or not, "
        "memory macros among them; sets --sram macro",
    )  # fmt: skip
    process.add_argument("--pdk", choices=PDKS, help="the same, by the files of an open_pdks tree under PDK_ROOT")
    top.add_argument("--area", metavar="FILE", help="draw what every unit takes of the part, .svg or .png")
    top.set_defaults(library=None)
    top.add_argument("--program", action="store_true", help="upload the bitstream built before, and stop")
    top.add_argument("--dry-run", action="store_true", help="say what would be built, write nothing")
    return top


def _list() -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "board", "part", "MHz", "array", "KiB"):
        table.add_column(heading, no_wrap=True)
    for board in installed().values():
        config = board.config
        table.add_row(
            board.name, board.title, board.part, f"{board.clock_hz / 1e6:g}",
            config.array_text, f"{config.slices * config.scratch_bytes // 1024}",
        )  # fmt: skip
    return table


def _checked(options: argparse.Namespace) -> tuple[Board, Config, Toolchain | None]:
    """What to build with which tools; None if no toolchain is complete. Fills in the options the board decides."""
    if options.board is None:
        raise BuildError(f"which board? --board takes {', '.join(installed())}, or a FILE.py with one")
    board = find(options.board).override(parse_settings(options.set))
    board.check_capacity()
    config = board.config
    if options.area:
        plot_kind(options.area, "--area")
        if options.program:
            raise BuildError(
                "--program uploads what was built before and stops, so there is nothing for --area to draw"
            )
    options.link = options.link or board.link
    options.seed = board.seed if options.seed is None else options.seed
    if options.link != "uart" and not (board.shell and board.shell.mii):
        raise BuildError(f"{board.name} has no Ethernet here, so --link must be uart, not {options.link}")
    if board.shell and options.link != "ethernet":
        try:
            uart_divisor(board.system_hz, board.baud)
        except ValueError as error:
            raise BuildError(f"{board.name}: {error}") from None
    if board.platform and (options.liberty or options.pdk or options.sram != "infer"):
        raise BuildError(f"--sram, --liberty and --pdk are for the board verilog, not {board.name}")
    if options.liberty or options.pdk:
        options.sram = "macro"
        options.library = read(options.liberty or liberty_files(options.pdk))
    if board.shell and config.word_bits >= board.shell.data_bits:
        longest = BURST_BEATS * board.shell.data_bits // config.word_bits
        if config.burst_beats > longest:
            raise BuildError(
                f"burst_beats must be at most {longest} on {board.name}, whose memory port has "
                f"{board.shell.data_bits} bits, not {config.burst_beats}"
            )
    return board, config, _toolchain(options.toolchain, board)


def _toolchain(name: str, board: Board) -> Toolchain | None:
    """The board's toolchain of that name, or with "auto" the first one that is complete."""
    if name == _STOP:
        return None
    if name == "auto":
        return next((TOOLCHAINS[known] for known in board.toolchains if not TOOLCHAINS[known].missing()), None)
    if name not in board.toolchains:
        raise BuildError(
            f"toolchain {name} does not know {board.name}; it takes {', '.join((*board.toolchains, _STOP))}"
        )
    toolchain = TOOLCHAINS[name]
    if toolchain.missing():
        raise BuildError(f"toolchain {name} lacks {toolchain.missing()}; {toolchain.how}")
    return toolchain


def _output(options: argparse.Namespace, board: Board) -> Path:
    out: Path = options.out or Path("build") / board.name
    if out.exists() and not out.is_dir():
        raise BuildError(f"--out must be a directory, and {out} is a file")
    if not options.dry_run and not options.program:
        check_directory(out, "--out")
        if options.area:
            check(options.area)
    return out


def _summary(board: Board, config: Config) -> str:
    return (
        f"{board.title}{f' ({board.part})' if board.part else ''}: {config.array_text} int8 array, "
        f"{config.slices * config.scratch_bytes // 1024} KiB scratchpad, {board.clock_hz / 1e6:g} MHz"
        f"{f' (memory controller and link {board.system_hz / 1e6:g} MHz)' if board.crossed else ''}, "
        f"fingerprint {config.fingerprint:#010x}"
    )


def _devices(board: Board, link: str) -> list[str]:
    """What `python -m firmware --device` takes; PORT is the serial port's name on the host."""
    serial = "serial:PORT" if board.baud == BAUD else f"serial:PORT?baud={board.baud}"
    return [*([serial] if link != "ethernet" else []), *([f"udp:{IP_ADDRESS}"] if link != "uart" else [])]


def _build(
    console: Console, board: Board, config: Config, toolchain: Toolchain | None, out: Path, options: argparse.Namespace
) -> int:
    if board.clock_hz > find(options.board).clock_hz:
        with _step(console, "estimating the accelerator's clock") as watch:
            check_clock(board, watch)
    (out / "report.json").unlink(missing_ok=True)  # the last one says nothing about what is there if this build stops
    with _step(console, "writing Verilog"):
        write_core(config, board, out, macros=options.sram == "macro")
        project = write_project(config, board, out, link=options.link, seed=options.seed)
    family, sources = board.fabric, [f"{CORE}.v"]
    library: Library | None = options.library
    if library:
        library.put(out)
        period = 1e9 / board.clock_hz
        family, sources = liberty.family(library, sram.NAME.__eq__, period=period), [sram.STUB_FILE, *sources]
        write(out / sram.STUB_FILE, sram.STUB)
    elif options.sram == "macro":
        sources.append(f"{sram.NAME}.v")
    with _step(console, "synthesising the accelerator") as watch:
        core = synthesise(sources, CORE, family, out, keep=is_unit, watch=watch)
    around = {}
    if project.top:
        with _step(console, "synthesising the host link") as watch:
            around["link"] = synthesise([TOP_CELLS, project.top], "top", board.fabric, out, watch=watch)[0].used
    if project.top and not project.missing:
        with _step(console, "synthesising the memory controller") as watch:
            around["shell"] = synthesise(["shell.v"], "shell", board.fabric, out, watch=watch)[0].used
    report = make_report(board, config, core, around, project.missing)
    if library:
        report["library"] = ", ".join(library.names)
        with _step(console, "looking for the longest path"):
            report["asic"] = asic_report(library, core[0].used["area"], config.macs_per_cycle, out, period=period)
    if project.top:
        report["link"] = {"kind": options.link, "devices": _devices(board, options.link), **report["link"]}
    _save(report, out)
    show(unit_table(board, report, family), console)
    for line in asic_lines(report["asic"]) if library else ():
        console.print(line, soft_wrap=True)
    if options.area:
        with writing(options.area) as file:
            save_figure(area_figure(report, family), plot_kind(options.area, "--area"), file)
    console.print(f"{out} has {', '.join(sorted(_made(out)))}", soft_wrap=True)
    if options.toolchain == _STOP:
        return 0 if report.get("fits", True) else 1
    return _place_and_route(console, board, toolchain, report, out, options.seed)


def _place_and_route(
    console: Console, board: Board, toolchain: Toolchain | None, report: dict[str, Any], out: Path, seed: int
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
        for known in (TOOLCHAINS[name] for name in board.toolchains):
            console.print(f"  {known.name}: lacks {known.missing()}; {known.how}", soft_wrap=True)
    if report["missing"] or not fits or toolchain is None:
        return 0 if fits else 1
    with _step(console, f"placing and routing with {toolchain.name}") as watch:
        add_routed(report, board, toolchain.run(out, watch), seed)
    _save(report, out)
    console.print_json(data=report["routed"])
    if not report["routed"].get("meets_timing"):
        late = "".join(f"; {what}" for what in missed(report["routed"]))
        console.print(f"top.bit does not meet timing at {board.clock_hz / 1e6:g} MHz{late}", soft_wrap=True)
        return 1
    console.print(f"{out / 'top.bit'} meets timing; --program uploads it", soft_wrap=True)
    return 0


def _program(console: Console, board: Board, config: Config, out: Path) -> int:
    """Uploads what a build has left in `out`, if it is of this board and Config."""
    bitstream, report = out / "top.bit", out / "report.json"
    made = json.loads(report.read_text()) if report.exists() else {}
    if not bitstream.exists() or "routed" not in made:
        raise ToolchainError(f"there is no routed bitstream in {out}; build it without --program first")
    if (made["board"], made["fingerprint"]) != (board.name, config.fingerprint):
        raise ToolchainError(
            f"the bitstream in {out} is of {made['board']}, fingerprint {made['fingerprint']:#010x}, not of "
            f"{board.name}, fingerprint {config.fingerprint:#010x}"
        )
    with _step(console, f"uploading {bitstream} to {board.title}"):
        program(board.programmer, bitstream)
    devices = " or ".join(made.get("link", {}).get("devices", _devices(board, board.link)))
    console.print(f"{board.title} runs fingerprint {config.fingerprint:#010x}; open it as {devices}", soft_wrap=True)
    return 0


def _save(report: dict[str, Any], out: Path) -> None:
    write(out / "report.json", json.dumps(report, indent=2) + "\n")


def _made(out: Path) -> Iterator[str]:
    logs = ("synthesis_", f"{CORE}.key")
    return (path.name for path in out.iterdir() if path.is_file() and not path.name.startswith(logs))


@contextmanager
def _step(console: Console, what: str) -> Generator[yosys.Watch, None, None]:
    """Shows that, and how long, something runs, and which pass of it."""
    with step(what, console) as say:
        yield lambda _seconds, name: say(name.lower())

"""explore: model file and lists of settings -> which configurations of a board are worth building."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import MofNCompleteColumn, TimeRemainingColumn

from firmware.cli.compile import model_of
from firmware.cli.evaluate import pool_of
from firmware.compiler import CompileError
from firmware.errors import UserError
from firmware.explore.exploration import Exploration, explore
from firmware.explore.job import Job
from firmware.explore.output import as_csv, as_json, plot, print_front
from firmware.explore.space import PART, combinations, parse_over, parse_part, part_board
from firmware.files import Outputs, check_directory
from firmware.model_file import model_digest
from firmware.plots import save_figure
from firmware.progress import shown, step
from firmware.providers import PROVIDERS, provided
from firmware.report import write_json
from firmware.screen import INTERRUPTED
from hw.boards.board import Board
from hw.boards.registry import find
from hw.spec.model import Model

__all__ = ["explore_command", "register"]

_FILES = ("points.json", "points.csv", "front.svg")
_KEPT = "points.jsonl"


def register(commands: Any) -> None:
    """Adds the command's grammar to argparse's sub-parsers."""
    command = commands.add_parser(
        "explore", help="every combination of settings: cycles, images/s, area; which fit, and the best; goes on"
    )
    command.set_defaults(function=explore_command)
    command.add_argument("model", help="a model file of import-ivit, quantize or make-model")
    where = command.add_mutually_exclusive_group(required=True)
    where.add_argument("--board", help="for which board; hw.build --list has them")
    where.add_argument(
        "--part", metavar="LUT,DSP,BRAM", help=f"a 7-series part of that size, with memory and clock of {PART}"
    )
    command.add_argument(
        "--over", nargs="+", required=True, metavar="KEY=VALUES",
        help="values, between commas, of a field of the board's Config, of its units (a list: joined by +) or its "
        "clock in MHz; every combination is looked at",
    )  # fmt: skip
    command.add_argument("--batch", type=int, default=1, help="images interleaved in one program (default 1)")
    command.add_argument("--tokens", type=int, help="of a model of text: tokens of a text (default: 32)")
    command.add_argument("--workers", type=int, help="processes of this machine; default: one per processor")
    command.add_argument("--dask", metavar="ADDRESS", help="run on the workers of this Dask scheduler, tcp://HOST:PORT")
    command.add_argument(
        "--synthesise", action="store_true", help="synthesise what is on the front, a minute or so for each new unit"
    )
    command.add_argument("--out", type=Path, metavar="FOLDER", help="for all files (default build/explore/BOARD)")


def explore_command(arguments: argparse.Namespace) -> int:
    """Prints the front and writes the files; 130 if interrupted."""
    over = parse_over(arguments.over)
    board = part_board(parse_part(arguments.part)) if arguments.part else find(arguments.board)
    if not board.capacity:
        raise UserError(f"{board.name} has no part to fit: --part LUT,DSP,BRAM says how large one is")
    if not 1 <= arguments.batch <= 64:
        raise CompileError(f"batch must be from 1 to 64, not {arguments.batch}")
    model, pool = model_of(arguments), pool_of(arguments)
    area = provided(PROVIDERS["area"], "an exploration")(board)
    out: Path = arguments.out or Path("build/explore") / board.name
    check_directory(out, "--out")
    outputs = Outputs(*(out / name for name in (*_FILES, _KEPT)))
    job = Job(
        model=str(Path(arguments.model).resolve()), model_digest=model_digest(arguments.model),
        tokens=arguments.tokens, board=arguments.board or "", images=arguments.batch,
    )  # fmt: skip

    def explored() -> Exploration:
        with _progress() as progress:
            return explore(
                job, board, combinations(over), area, pool=pool, results=out / _KEPT, progress=progress
            )  # fmt: skip

    try:
        found = explored()
        while arguments.synthesise and _synthesise(found, area):
            found = explored()
    except KeyboardInterrupt:
        Console(stderr=True).print(
            f"interrupted; the same command goes on with what is in {out / _KEPT}", soft_wrap=True
        )
        return INTERRUPTED
    _say(found, board, model, area, out)
    _write(found, board, model, area, out, outputs)
    return 0


def _synthesise(found: Exploration, area: Any) -> bool:
    """Synthesises the units of the front that a model was asked for. Returns whether there were any."""
    fitted = [point for point in found.front if point.area and point.area.fitted]
    for number, point in enumerate(fitted, 1):
        assert point.board is not None
        with step(f"synthesising units of the front, point {number} of {len(fitted)}") as say:
            area.measure(point.board.config, lambda _seconds, name, say=say: say(name))
    return bool(fitted)


def _title(board: Board, model: Model) -> str:
    return f"{model.name} on {board.title}: what no other configuration beats"


def _say(found: Exploration, board: Board, model: Model, area: Any, out: Path) -> None:
    console = Console()
    if found.damaged:
        Console(stderr=True).print(
            f"{out / _KEPT} had {found.damaged} damaged lines: their points were found again", soft_wrap=True
        )
    print_front(found, _title(board, model), area.errors, console)
    console.print(area.around_text, soft_wrap=True)


def _write(found: Exploration, board: Board, model: Model, area: Any, out: Path, outputs: Outputs) -> None:
    about = {"model": model.name, "error": dict(area.errors), "around": dict(area.around)}
    json_file, csv_file, svg_file = (out / name for name in _FILES)
    outputs.write(json_file, partial(write_json, as_json(found, board, about)))
    outputs.write(csv_file, lambda file: file.write(as_csv(found).encode()))
    written = f"{json_file.name}, {csv_file.name}"
    if find_spec("matplotlib"):
        drawn = plot(found, board, _title(board, model))
        outputs.write(svg_file, partial(save_figure, drawn, "svg"))
        written += f", {svg_file.name}"
    else:
        written += f"; no {svg_file.name}, which needs matplotlib: pip install 'shiftwork[plot]'"
    outputs.finish()
    Console().print(f"{out} has {written}", soft_wrap=True, markup=False)


@contextmanager
def _progress() -> Generator[Callable[[int, int], None], None, None]:
    """Configurations whose cycles are known."""
    with shown("exploring", "points", MofNCompleteColumn(), TimeRemainingColumn()) as show:
        yield show

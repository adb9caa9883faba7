"""The boards' presets against what else would fit them, and the cores that estimates of areas are fitted to."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import page
from firmware.evaluate import Local
from firmware.explore import Exploration, Point, explore
from firmware.explore.job import Job
from firmware.explore.point import FATES
from firmware.explore.space import combinations, parse_over
from firmware.files import check_directory, write
from firmware.model_file import model_digest
from firmware.progress import shown, step
from hw.boards.board import Board
from hw.boards.registry import find
from hw.build import yosys
from hw.build.area_model import STORED, AreaModel
from hw.build.units import measured, units_of
from hw.spec.config import Config

__all__ = ["AROUND", "NOTES", "Verdict", "measure", "register", "verdict"]

AROUND = {
    "arty_a7": ("cols=4,6,8,10", "drain_lanes=1,2", "lanes=1,2", "slices=1,2", "bank_words=1024,2048"),
    "arty_a7_100": (
        "cols=4,8,12",
        "drain_lanes=1,2",
        "lanes=1,2",
        "slices=1,2,3,4",
        "bank_words=1024,2048",
        "small_products=dsp,lut",
    ),
    "genesys2": ("cols=8,16", "drain_lanes=2,4", "lanes=2,4", "slices=2,3,4"),
    "ulx3s_85f": ("cols=4,6,8", "drain_lanes=1,2", "lanes=1,2", "bank_words=2048,4096"),
}
"""Board -> what is changed of its preset."""

NOTES: dict[str, str] = {}
"""Board -> why its preset is not on its front, where that is known and wanted."""


@dataclass(frozen=True)
class Verdict:
    """Of one board's preset: itself, and the cheapest point that beats it, if one does."""

    board: str
    preset: Point
    better: Point | None

    @property
    def right(self) -> bool:
        """It is on the front, or it is said why not."""
        return self.better is None or self.board in NOTES


def verdict(board: Board, found: Exploration) -> Verdict:
    """Raises ValueError if the preset is not among the points, or does not fit."""
    for preset in found.points:
        if preset.board and preset.board.config == board.config and preset.fate in {"front", "fits"}:
            break
    else:
        raise ValueError(f"the preset of {board.name} is not among the points that fit it")
    better = [
        point
        for point in found.front
        if point.lut <= preset.lut and point.images_per_second >= preset.images_per_second
    ]
    return Verdict(board.name, preset, None if preset.fate == "front" else better[0])


def _table(found: list[Verdict]) -> str:
    head = ("board", "preset", "LUT", "images/s", "beaten by", "LUT", "images/s", "why it stays")
    return page.table(head, [_row(each) for each in found])


def _front(board: Board, found: Exploration) -> str:
    """A title and a Markdown table: every point of the front, told by what is not the preset's."""
    resources = [board.fabric.columns[name] for name in found.points[0].columns]
    body = []
    for point in found.front:
        row = point.row()
        used = (f"{row[name]:,.10g}" for name in found.points[0].columns)
        figures = (f"{point.cycles:,.0f}", f"{point.images_per_second:.2f}", f"{row['utilisation']:.3f}")
        body.append((_changes(board.config, _config(point)) or "**the preset**", *figures, *used))
    counts = ", ".join(f"{found.fates[fate]} {fate}" for fate in FATES if found.fates[fate])
    head = ("what is changed", "cycles per image", "images/s", "utilisation", *resources)
    title = f"**The front around `{board.name}`**: {len(found.points)} combinations of {', '.join(AROUND[board.name])}"
    return f"{title.replace('=', ' = ')}: {counts}.\n\n{page.table(head, body)}"


def _errors(board: Board) -> str:
    errors = AreaModel(board).errors.items()
    parts = (f"{board.fabric.columns[name]} {each['mean']:.1%} (worst {each['worst']:.1%})" for name, each in errors)
    return (
        f"Error of the fitted areas of {board.fabric.title}, on each of the stored cores, left out: {', '.join(parts)}."
    )


def _row(each: Verdict) -> tuple[str, ...]:
    better, config = each.better, _config(each.preset)
    shown_better = ("none", "", "") if better is None else (_changes(config, _config(better)), *_figures(better))
    note = "it is on the front" if better is None else NOTES.get(each.board, "**nothing says why**")
    return (f"`{each.board}`", config.array_text, *_figures(each.preset), *shown_better, note)


def _config(point: Point) -> Config:
    assert point.board is not None
    return point.board.config


def _figures(point: Point) -> tuple[str, str]:
    return f"{point.lut:,.0f}", f"{point.images_per_second:.2f}"


def _changes(preset: Config, other: Config) -> str:
    fields = asdict(other)
    return ", ".join(f"{name}={fields[name]}" for name, value in asdict(preset).items() if fields[name] != value)


def register(commands: Any) -> None:
    """Adds the command's grammar to argparse's sub-parsers."""
    command = page.add_command(
        commands, "explore", "the boards' presets against other configurations that fit them", _run
    )
    command.add_argument("model", help="a model file")
    command.add_argument("--boards", nargs="+", choices=AROUND, metavar="BOARD", help="some of the boards")
    command.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    command.add_argument(
        "--results", type=Path, default=Path("build/explore"), metavar="FOLDER",
        help="what was found is kept there and not found again (default build/explore)",
    )  # fmt: skip
    command.add_argument(
        "--measure", action="store_true",
        help="first synthesise the units of the cores in hw/build/areas.json anew: an hour, less where they are known",
    )  # fmt: skip


def _run(arguments: argparse.Namespace) -> int:
    """1 if a preset is beaten and nothing says why."""
    if arguments.measure:
        measure()
    check_directory(arguments.results, "--results")
    found, fronts = [], []
    for name in arguments.boards or AROUND:
        board = find(name)
        job = Job(
            model=str(Path(arguments.model).resolve()), model_digest=model_digest(arguments.model), tokens=None,
            board=name, images=1,
        )  # fmt: skip
        with shown(name, "points") as show:
            over = combinations(parse_over(AROUND[name]))
            explored = explore(
                job, board, over, AreaModel(board), pool=Local(arguments.workers),
                results=arguments.results / f"{name}.jsonl", progress=show,
            )  # fmt: skip
        found.append(verdict(board, explored))
        fronts.append(_front(board, explored))
    fabrics = {board.fabric.name: board for board in map(find, arguments.boards or AROUND)}
    text = "\n\n".join([_table(found), *fronts, *map(_errors, fabrics.values())])
    page.publish(arguments, text, {"presets": [_json(each) for each in found]})
    return int(not all(each.right for each in found))


def _json(each: Verdict) -> dict[str, Any]:
    better = each.better and each.better.row()
    return {"board": each.board, "preset": each.preset.row(), "better": better, "note": NOTES.get(each.board)}


def measure() -> None:
    """Writes the units of the stored cores, as they are today, into the file of the stored cores."""
    stored = json.loads(STORED.read_text())
    stored["tool"] = yosys.tool()
    for number, core in enumerate(stored["cores"], 1):
        board = find(core["board"]).override(core["settings"])
        with step(f"core {number} of {len(stored['cores'])}") as say:
            core["units"] = {
                unit.name: measured(unit, board.fabric, lambda _seconds, name, say=say: say(name))
                for unit in units_of(board.config, board.fabric)
            }
    write(STORED, json.dumps(stored, indent=1) + "\n")

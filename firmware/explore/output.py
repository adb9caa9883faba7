"""An exploration as a table, as files of JSON and CSV, and as a plot."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from firmware.explore.exploration import Exploration
from firmware.explore.point import FATES, Point
from firmware.plots import COLOURS, figure
from firmware.screen import show
from hw.boards.board import Board

__all__ = ["FIGURES", "as_csv", "as_json", "plot", "print_front"]

FIGURES = (
    "cycles by the cycle model; resources synthesised unit by unit, or by a model fitted to such; clock the board's"
)
_REASONS = 6  # that are printed of each fate
_FITTED = 2  # units that are named
_APART = 0.03  # of the plot's height, between points of the front that it names


def as_json(found: Exploration, board: Board, about: Mapping[str, Any]) -> dict[str, Any]:
    """Everything: `about` says what was explored; ``points`` are the rows of the CSV file."""
    return {
        "figures": FIGURES,
        **about,
        "board": board.name,
        "config": asdict(board.config),
        "available": dict(board.capacity),
        "counts": {fate: found.fates[fate] for fate in FATES},
        "points": [point.row() for point in found.points],
    }


def as_csv(found: Exploration) -> str:
    """A line for each point, in the order of the combinations; nothing where a figure is not known."""
    rows = [point.row() for point in found.points]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def print_front(found: Exploration, title: str, errors: Mapping[str, Mapping[str, float]], console: Console) -> None:
    """The front, cheapest first, and what became of all other points; `errors` are `AreaModel.errors`."""
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    best = found.front
    keys = [key for key, _ in found.points[0].settings]
    resources = found.points[0].columns
    for heading in (*keys, "images/s", "MHz", "cycles", "used", *(name.upper() for name in resources), "from"):
        table.add_column(heading, justify="left" if heading in {*keys, "from"} else "right", no_wrap=True)
    for point in best:
        table.add_row(*_cells(point, resources))
    if best:
        show(table, console)
    counts = ", ".join(f"{found.fates[fate]} {fate}" for fate in FATES if found.fates[fate])
    kept = f"; the cycles of {found.kept} were known" if found.kept else ""
    console.print(f"{len(found.points)} combinations: {counts}{kept}", soft_wrap=True)
    for fate in FATES[2:]:
        listed = found.reasons(fate).most_common()
        for reason, number in listed[:_REASONS]:
            console.print(f"  {number} {fate}: {reason}", soft_wrap=True, highlight=False, markup=False)
        if len(listed) > _REASONS:
            console.print(f"  and {len(listed) - _REASONS} reasons more: the files have them", soft_wrap=True)
    console.print(
        f"{FIGURES}. Error of the fitted model, on each of the cores that it is fitted to, left out: {_text(errors)}",
        soft_wrap=True,
    )


def _cells(point: Point, resources: tuple[str, ...]) -> list[str]:
    assert point.area is not None
    assert point.board is not None
    row, area = point.row(), point.area
    return [
        *(value for _, value in point.settings),
        f"{point.images_per_second:.2f}", f"{row['clock_mhz']:g}", f"{point.cycles:,.0f}", f"{row['utilisation']:.3f}",
        *(f"{area.system[name]:,.10g}" for name in resources),
        _origin(area.fitted),
    ]  # fmt: skip


def _origin(fitted: tuple[str, ...]) -> str:
    if not fitted:
        return "synthesis"
    return f"fit of {', '.join(fitted)}" if len(fitted) <= _FITTED else f"fit of {len(fitted)} units"


def _text(errors: Mapping[str, Mapping[str, float]]) -> str:
    return ", ".join(f"{name.upper()} {each['mean']:.1%} (worst {each['worst']:.1%})" for name, each in errors.items())


def plot(found: Exploration, board: Board, title: str) -> Any:
    """A matplotlib Figure: images per second against LUTs, of everything that fits; the front is joined and named."""
    fit = [point for point in found.points if point.fate in {"front", "fits"}]
    best = found.front
    several = {key for key, value in found.points[0].settings if any((key, value) not in p.settings for p in best)}

    def paint(made: Any) -> None:
        axes = made.subplots()
        axes.scatter([p.lut for p in fit], [p.images_per_second for p in fit], s=12, color=COLOURS[4], label="fits")
        axes.step(
            [p.lut for p in best], [p.images_per_second for p in best], where="post", marker="o", markersize=5,
            color=COLOURS[0], label="front",
        )  # fmt: skip
        named = None
        for point in reversed(best):
            if named and named - point.images_per_second < _APART * best[-1].images_per_second:
                continue
            named = point.images_per_second
            text = " ".join(f"{key}={value}" for key, value in point.settings if key in several)
            axes.annotate(
                text, (point.lut, point.images_per_second), xytext=(6, -9), textcoords="offset points", fontsize=6
            )
        axes.axvline(board.capacity["lut"], color="black", linewidth=0.8, linestyle="--")
        axes.set_xlabel(f"LUT of the system (dashed: {board.capacity['lut']:,.0f} of the part)")
        axes.set_ylabel("images per second")
        axes.set_ylim(bottom=0)
        axes.set_title(title)
        axes.grid()
        axes.legend(loc="upper left")

    return figure(9, 6, paint)

"""The build's report: as a table, and as report.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich.table import Table

from hw import yosys
from hw.boards.board import Board
from hw.synthesis import Unit

__all__ = ["make_report", "unit_table"]


def make_report(board: Board, config: Any, core: list[Unit], shell: list[Unit], missing: str) -> dict[str, Any]:
    """What was built and what it takes. `shell` is empty if there is none; then the board's reserve counts for it."""
    report = {
        "board": board.name,
        "title": board.title,
        "part": board.part,
        "clock_hz": board.clock_hz,
        "config": asdict(config),
        "fingerprint": config.fingerprint,
        "stage": "synthesised",
        "tool": yosys.tool(),
        "used": core[0].used,
        "units": {unit.name: unit.used for unit in core[1:]},
        "missing": missing,
    }
    if board.capacity:
        around = shell[0].used if shell else dict(board.reserve)
        total = {key: core[0].used[key] + around[key] for key in board.capacity}
        report |= {
            "available": dict(board.capacity),
            "percent": _percent(core[0].used, board.capacity),
            "shell": {"used": around, "source": "synthesised" if shell else board.reserve_source},
            "system": {"used": total, "percent": _percent(total, board.capacity)},
            "fits": all(total[key] <= number for key, number in board.capacity.items()),
        }
    return report


def _percent(used: Mapping[str, float], available: Mapping[str, float]) -> dict[str, float]:
    return {key: round(100 * used[key] / number, 2) for key, number in available.items()}


def unit_table(board: Board, report: Mapping[str, Any]) -> Table:
    """What every unit takes, in numbers and in percent of the part."""
    notes = [f"{report['stage']} by {report['tool']}, units kept apart: upper bounds"]
    if board.capacity:
        notes.append("shell: memory controller, host link")
    table = Table(title=f"{board.title} {board.part}".strip(), caption="\n".join(notes))
    table.add_column("unit")
    for heading in board.family.columns.values():
        table.add_column(heading, justify="right")

    def row(name: str, used: Mapping[str, float]) -> None:
        table.add_row(name, *(_cell(used[key], board.capacity.get(key)) for key in board.family.columns))

    for name, used in report["units"].items():
        depth = name.count(".") - 2  # below the core, which is everything
        if depth >= 0:
            row("  " * depth + name.rpartition(".")[2], used)
    table.add_section()
    row("accelerator", report["used"])
    if board.capacity:
        counted = "" if report["shell"]["source"] == "synthesised" else " (reserved)"
        row(f"shell{counted}", report["shell"]["used"])
        row("system", report["system"]["used"])
        table.add_row("available", *(f"{board.capacity[key]:g}" for key in board.family.columns))
    return table


def _cell(number: float, available: float | None) -> str:
    text = f"{number:.10g}"
    return f"{text} {number / available:7.1%}" if available else text

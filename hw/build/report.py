"""The build's report: as a table, and as report.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from rich.table import Table

from hw.boards.board import Board
from hw.build import yosys
from hw.build.synthesis import Counts, Family, Unit
from hw.spec.config import Config

__all__ = ["Row", "add_routed", "make_report", "sum_rows", "unit_rows", "unit_table"]

Row = tuple[int, str, Counts]
"""Depth in the hierarchy, name, and what is used."""


def make_report(
    board: Board, config: Config, core: list[Unit], around: Mapping[str, Counts], missing: str
) -> dict[str, Any]:
    """What was built and what it takes.

    `around` has what the shell and the link take; a system without one of them is less than will be on the board.
    """
    report = {
        "board": board.name,
        "title": board.title,
        "part": board.part,
        "clock_hz": board.clock_hz,
        "system_hz": board.system_hz,
        "config": asdict(config),
        "fingerprint": config.fingerprint,
        "stage": "synthesised",
        "tool": yosys.tool(),
        "used": core[0].used,
        "units": {unit.name: unit.used for unit in core[1:]},
        "missing": missing,
    }
    if board.capacity:
        total = {key: core[0].used[key] + sum(used[key] for used in around.values()) for key in board.capacity}
        report |= {
            "available": dict(board.capacity),
            "percent": _percent(core[0].used, board.capacity),
            **{name: {"used": used} for name, used in around.items()},
            "system": {"used": total, "percent": _percent(total, board.capacity)},
            "fits": all(total[key] <= number for key, number in board.capacity.items()),
        }
    return report


def add_routed(report: dict[str, Any], board: Board, routed: dict[str, Any], seed: int) -> None:
    """Adds what a router said, and of that the accelerator's clock, the slowest of those it was asked for."""
    wanted = board.clock_hz / 1e6
    ours = [clock["mhz"] for clock in routed.get("clocks", {}).values() if abs(clock["wanted_mhz"] - wanted) < 0.01]
    report["routed"] = {**routed, "seed": seed, "target_mhz": wanted, **({"fmax_mhz": min(ours)} if ours else {})}


def _percent(used: Mapping[str, float], available: Mapping[str, float]) -> dict[str, float]:
    return {key: round(100 * used[key] / number, 2) for key, number in available.items()}


def unit_table(board: Board, report: Mapping[str, Any], family: Family) -> Table:
    """What every unit takes, in numbers and in percent of the part."""
    notes = [f"{report['stage']} by {report['tool']}, units kept apart: upper bounds"]
    if family.libraries:
        notes.append(f"areas as in {report['library']}, wires and macros without")
    if board.capacity:
        notes.append("shell: clocks, memory controller, Ethernet; link: bridge, UART, lights")
    table = Table(title=f"{board.title} {board.part}".strip(), caption="\n".join(notes))
    table.add_column("unit", no_wrap=True)
    for heading in family.columns.values():
        table.add_column(heading, justify="right", no_wrap=True)

    for rows in (unit_rows(report), sum_rows(report)):
        for depth, name, used in rows:
            table.add_row("  " * depth + name, *(_cell(used[key], board.capacity.get(key)) for key in family.columns))
        table.add_section()
    if board.capacity:
        table.add_row("available", *(f"{board.capacity[key]:g}" for key in family.columns))
    return table


def unit_rows(report: Mapping[str, Any]) -> Iterator[Row]:
    """The units of the accelerator, in the order of the hierarchy."""
    for name, used in report["units"].items():
        depth = name.count(".") - 2  # below the core, which is everything
        if depth >= 0:
            yield depth, name.rpartition(".")[2], used


def sum_rows(report: Mapping[str, Any]) -> Iterator[Row]:
    """The accelerator, what is around it on a board, and the sum."""
    yield 0, "accelerator", report["used"]
    if "system" in report:
        parts = [name for name in ("shell", "link") if name in report]
        for name in parts:
            yield 0, name, report[name]["used"]
        yield 0, "system" if "shell" in parts else "system, no shell", report["system"]["used"]


def _cell(number: float, available: float | None) -> str:
    text = f"{number:.10g}"
    return f"{text} {number / available:7.1%}" if available else text

"""What every unit takes of the part, as a plot: a panel of bars for each resource."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from firmware.plots import COLOURS, figure
from hw.boards.fabric import Family
from hw.build.report import Row, sum_rows, unit_rows

__all__ = ["area_figure"]

_LINE = 0.2  # inches of a row
_PANEL = 2.6  # inches of a resource
_LETTER = 5.5  # points of a name's letter, at most on average


def area_figure(report: Mapping[str, Any], family: Family) -> Any:
    """A matplotlib Figure of a build's report. Shares are of the part, or of the accelerator where there is no part."""
    units, sums = list(unit_rows(report)), list(sum_rows(report))
    rows = [*units, *sums]
    whole = report.get("available", report["used"])

    def paint(made: Any) -> None:
        panels = made.subplots(1, len(family.columns), sharey=True, squeeze=False)[0]
        for (key, heading), axes in zip(family.columns.items(), panels, strict=True):
            _bars(axes, rows, key, whole[key])
            axes.set_title(f"{heading}: {whole[key]:,.10g}")
            axes.axhline(len(units) - 0.5, color="black", linewidth=0.6)
        names = ["    " * depth + name for depth, name, _ in rows]
        panels[0].set_yticks(range(len(rows)), names, ha="left")
        panels[0].tick_params(axis="y", pad=_LETTER * max(map(len, names)))
        panels[0].set_ylim(len(rows) - 0.4, -0.6)
        of = f"the {report['part']}" if "available" in report else "the accelerator"
        made.suptitle(f"{report['title']}: shares of {of}, {report['stage']} by {report['tool']}")

    return figure(1.6 + _PANEL * len(family.columns), 1.4 + _LINE * len(rows), paint)


def _bars(axes: Any, rows: Sequence[Row], key: str, whole: float) -> None:
    """Of one resource; lighter where a unit is a part of the last one before it that is not."""
    numbers = [used[key] for _, _, used in rows]
    shares = [100 * number / whole if whole else 0.0 for number in numbers]
    colours = [COLOURS[4] if depth else COLOURS[0] for depth, _, _ in rows]
    bars = axes.barh(range(len(rows)), shares, color=colours)
    texts = [f"{number:,.10g} ({share:.1f} %)" if number else "" for number, share in zip(numbers, shares, strict=True)]
    axes.bar_label(bars, texts, padding=2, fontsize=7)
    axes.set_xlim(0, 1.7 * max(100, *shares))
    axes.set_xticks((0, 50, 100), ("0", "50 %", "100 %"))
    axes.grid(axis="x")

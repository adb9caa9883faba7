"""The roofline as a plot: MACs per cycle over MACs per byte of memory traffic, both logarithmic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from firmware.plots import COLOURS, figure
from firmware.roofline import BOUNDS, Point, merged

__all__ = ["roofline_figure"]

_LINE = 0.2  # inches that the label of a layer takes
_REST = 2.6  # inches of the height around the axes, at most
_LEAST = 6.0  # inches of height


def roofline_figure(points: Sequence[Point], whole: Point, *, peak: int, bandwidth: float, figures: str) -> Any:
    """A matplotlib Figure: equal layers of all blocks as one dot, its name in a column beside the axes.

    Layers without MACs or traffic have no place in it. `peak` is in MACs per cycle, `bandwidth` in bytes per cycle;
    `figures` says where the cycles come from. Without any, dots are where the roofs allow.
    """
    shown = [point for point in (*merged(points), whole) if point.macs and point.bytes]
    height = max(_LEAST, _LINE * len(shown) + _REST)

    def paint(made: Any) -> None:
        axes = made.subplots()
        _roofs(axes, shown, whole, peak, bandwidth)
        _dots(axes, shown, whole, peak, _LINE / (height - _REST))
        axes.set_xlabel("MACs per byte of memory traffic")
        axes.set_ylabel("MACs per cycle")
        axes.set_title(f"roofline, {figures if whole.cycles else 'what the roofs allow'}; at the right MACs per cycle")
        made.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)

    return figure(10, height, paint)


def _rate(point: Point, peak: int) -> float:
    """MACs per cycle: what it took, or the most that its lowest roof allows."""
    return point.attained or peak * point.array / getattr(point, point.bound)


def _roofs(axes: Any, shown: Sequence[Point], whole: Point, peak: int, bandwidth: float) -> None:
    """Lines, limits and grid."""
    ratios, rates = [point.intensity for point in shown], [_rate(point, peak) for point in shown]
    low, high = min(ratios) / 2, max(*ratios, 2 * peak / bandwidth) * 2
    vector = peak * whole.array / whole.vector if whole.vector else math.inf
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    ends = sorted({low, min(max(low, peak / bandwidth), high), high})
    axes.plot(ends, [min(peak, bandwidth * end) for end in ends], color="black", linewidth=1.5,
              label=f"array: {peak} MACs per cycle; memory: {bandwidth:.1f} bytes per cycle")  # fmt: skip
    if vector < math.inf:
        axes.axhline(
            vector, color="black", linewidth=1, linestyle="--", label=f"vector lanes, whole program: {vector:.0f}"
        )
    axes.set_xlim(low, high)
    axes.set_ylim(min(rates) / 2, max(2 * peak, min(8 * peak, 1.5 * vector)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid()


def _dots(axes: Any, shown: Sequence[Point], whole: Point, peak: int, gap: float) -> None:
    """A dot per layer in the colour of its lowest roof, and a line to its name; `gap` is of names, in axes' heights."""
    for bound, colour in zip(BOUNDS, COLOURS, strict=False):
        some = [point for point in shown if point.bound == bound and point is not whole]
        if some:
            places = [point.intensity for point in some], [_rate(point, peak) for point in some]
            axes.plot(*places, "o", color=colour, label=f"layers whose lowest roof is {bound}")
    axes.plot([whole.intensity], [_rate(whole, peak)], "D", color="black", label=whole.name)
    upwards = sorted(shown, key=lambda point: (_rate(point, peak), point.intensity))
    axes_share = (axes.transData + axes.transAxes.inverted()).transform
    wanted = [float(axes_share((point.intensity, _rate(point, peak)))[1]) for point in upwards]
    for point, height in zip(upwards, spread(wanted, gap), strict=True):
        axes.annotate(
            f"{point.name}  {_rate(point, peak):.{0 if _rate(point, peak) >= 9.95 else 1}f}",
            (point.intensity, _rate(point, peak)), xytext=(1.03, height), textcoords="axes fraction", va="center",
            arrowprops={"arrowstyle": "-", "color": "#999999", "linewidth": 0.6, "relpos": (0, 0.5), "shrinkB": 4},
            fontweight="bold" if point is whole else "normal",
        )  # fmt: skip


def spread(wanted: Sequence[float], gap: float) -> list[float]:
    """Rising places at least `gap` apart in 0 to 1, near those `wanted`, which rise; there has to be room for them."""
    places: list[float] = []
    for place in wanted:
        places.append(max(place, places[-1] + gap if places else 0.0))
    highest = 1.0
    for index in reversed(range(len(places))):
        places[index] = min(places[index], highest)
        highest = places[index] - gap
    return places

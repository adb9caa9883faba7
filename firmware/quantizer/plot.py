"""The plot of what quantization costs: along the depth of the network, and by its parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from firmware.plots import figure
from firmware.quantizer.loss import Loss
from firmware.quantizer.measure import Measurement

__all__ = ["draw"]

_NAMED = 6  # tensors
_TICKS = 48  # names along the axis


def draw(measure: Measurement, parts: Sequence[Loss], alone: Mapping[str, float]) -> Any:
    """A matplotlib Figure. `alone` may be empty; the worst tensors are named, by `alone`, else by themselves."""

    def paint(made: Any) -> None:
        depth, bars = made.subplots(2, 1, height_ratios=(3, 1))
        _depth(depth, measure, alone)
        _bars(bars, parts)

    return figure(13, 9, paint)


def _depth(axes: Any, measure: Measurement, alone: Mapping[str, float]) -> None:
    rows = [row for row in measure.rows if row.kind == "activation"]
    names = [row.name for row in rows]
    lines = {
        "this quantizer by itself (own)": [row.own_sqnr for row in rows],
        "everything up to here, against float": [row.sqnr for row in rows],
    }
    if alone:
        lines["the outputs, if only this quantizer is there"] = [alone[name] for name in names]
    for label, ratios in lines.items():
        finite = [ratio if np.isfinite(ratio) else np.nan for ratio in ratios]
        axes.plot(finite, marker=".", linewidth=1, label=label)
    last = [*lines.values()][-1] if alone else lines["this quantizer by itself (own)"]
    worst = [int(index) for index in np.argsort(last, kind="stable")[:_NAMED] if np.isfinite(last[index])]
    for rank, index in enumerate(worst, 1):
        axes.annotate(str(rank), (index, last[index]), xytext=(0, -13), textcoords="offset points", ha="center")
    listed = [f"{rank}  {names[index]} {last[index]:.1f}" for rank, index in enumerate(worst, 1)]
    axes.text(1.01, 1, "\n".join(["the worst:", *listed]), transform=axes.transAxes, va="top", fontsize=8)
    step = -(-len(names) // _TICKS)
    axes.set_xticks(range(0, len(names), step), names[::step], rotation=90, fontsize=7)
    axes.set_ylabel("SQNR, dB")
    axes.set_title("activations along the depth")
    axes.grid(alpha=0.3)
    axes.margins(y=0.12)
    axes.legend(fontsize=8, loc="upper center", ncols=3)


def _bars(axes: Any, parts: Sequence[Loss]) -> None:
    """A bar for each part; none for a part without any noise."""
    lengths = [part.sqnr if np.isfinite(part.sqnr) else 0.0 for part in parts]
    bars = axes.barh(range(len(parts)), lengths)
    axes.bar_label(bars, [f" {part.sqnr:.1f} dB, cosine {part.cosine:.4f}" for part in parts], fontsize=8)
    axes.set_yticks(range(len(parts)), [part.name for part in parts])
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_xlabel("SQNR of the outputs if only this is there, dB")

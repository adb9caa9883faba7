"""What all plots share: which files they go to, one look wherever they are drawn, and equal bytes for equal input."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

from firmware.errors import UserError

__all__ = ["COLOURS", "figure", "plot_kind", "save_figure"]

KINDS = ("svg", "png")

COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377")
"""Paul Tol's bright scheme, which the colour-blind tell apart."""

_LOOK = {
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "legend.frameon": False,
    "svg.hashsalt": "shiftwork",
    "svg.fonttype": "none",
}


def plot_kind(path: str, option: str) -> str:
    """ "svg" or "png", as the name of the file says. Raises UserError for another, and where matplotlib is missing.

    `option` names the option in messages.
    """
    kind = Path(path).suffix.lower().removeprefix(".")
    if kind not in KINDS:
        raise UserError(f"{option} wants a file whose name ends in {' or '.join('.' + k for k in KINDS)}, not {path}")
    if find_spec("matplotlib") is None:
        raise UserError(f"{option} needs matplotlib, which is not installed: pip install 'shiftwork[plot]'")
    return kind


def figure(width: float, height: float, paint: Callable[[Any], object]) -> Any:
    """A matplotlib Figure of so many inches, which `paint` fills. The user's own settings change nothing."""
    from matplotlib import style
    from matplotlib.figure import Figure

    with style.context(["default", _LOOK]):
        made = Figure(figsize=(width, height), layout="constrained")
        paint(made)
    return made


def save_figure(figure: Any, kind: str, file: BinaryIO) -> None:
    """Writes a Figure as `kind`, "svg" or "png"."""
    from matplotlib import style

    with style.context(["default", _LOOK]):
        figure.savefig(file, format=kind, dpi=120, metadata={"Date": None} if kind == "svg" else {"Software": None})

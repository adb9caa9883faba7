"""Swin's relative positions: which one two tokens of a window have; and which blocks shift their windows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["gathered", "relative_position_index", "shift_of"]

Array = NDArray[Any]


def shift_of(block: int, height: int, width: int, window: int) -> int:
    """Cyclic shift of block number `block` of a stage: half a window in odd blocks, unless one window is all."""
    return window // 2 if block % 2 and min(height, width) > window else 0


def relative_position_index(window: int) -> Array:
    """Row of the bias table [(2*window-1)^2, heads] for each pair of a window's tokens [n, n], n = window^2."""
    y, x = (axis.ravel() for axis in np.mgrid[:window, :window])
    rows, columns = y[:, None] - y + window - 1, x[:, None] - x + window - 1
    return rows * (2 * window - 1) + columns


def gathered(table: Array, window: int) -> Array:
    """Relative position bias [heads, n, n] of a table [(2*window-1)^2, heads]."""
    return np.moveaxis(table[relative_position_index(window)], -1, 0)

"""Swin's windows: which relative position two tokens have, and which must not see each other after the shift."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["gathered", "relative_position_index", "shift_mask", "shift_of"]

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


def shift_mask(height: int, width: int, window: int, shift: int) -> Array:
    """Mask [windows, n, n] (int8): 1 where two tokens of a window were no neighbours before the cyclic shift.

    The rolled grid has up to three bands along each axis: whole windows, and the two parts of the last window, of which
    the second came from the other edge. Tokens see each other within a band of both axes.
    """
    rows, columns = (
        np.searchsorted([size - window, size - shift], np.arange(size), "right") for size in (height, width)
    )
    region = 3 * rows[:, None] + columns
    region = region.reshape(height // window, window, width // window, window).swapaxes(1, 2).reshape(-1, window**2)
    return (region[:, :, None] != region[:, None, :]).astype(np.int8)

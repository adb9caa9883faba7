"""Windows back to the tokens of a grid."""

from __future__ import annotations

import numpy as np

from hw.spec.operators.grid import Windows
from hw.spec.operators.operator import Array, Laws, register

__all__ = ["WindowReverse"]


@register
class WindowReverse(Windows):
    """The inverse of `window_partition` with the same attributes."""

    name = "window_reverse"

    def evaluate(self, _laws: Laws, x: Array) -> Array:
        height, width, window, shift = self["height"], self["width"], self["window"], self["shift"]
        grid = x.reshape(len(x), height // window, width // window, window, window, -1).swapaxes(2, 3)
        return np.roll(grid.reshape(len(x), height, width, -1), (shift, shift), (1, 2)).reshape(x.shape)

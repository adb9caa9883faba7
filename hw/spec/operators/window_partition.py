"""Tokens of a grid to windows."""

from __future__ import annotations

import numpy as np

from hw.spec.operators.grid import Windows
from hw.spec.operators.operator import Array, Laws, register

__all__ = ["WindowPartition"]


@register
class WindowPartition(Windows):
    """Tokens [height*width, C], row-major, rolled by -shift along both axes and cut into squares of side `window`.

    The output is [windows*window^2, C]: windows row-major, tokens row-major in each.
    """

    name = "window_partition"

    def evaluate(self, _laws: Laws, x: Array) -> Array:
        height, width, window, shift = self["height"], self["width"], self["window"], self["shift"]
        grid = np.roll(x.reshape(len(x), height, width, -1), (-shift, -shift), (1, 2))
        grid = grid.reshape(len(x), height // window, window, width // window, window, -1)
        return grid.swapaxes(2, 3).reshape(x.shape)

"""Merging of patches between the stages of a Swin."""

from __future__ import annotations

from hw.spec.operators.grid import Grid
from hw.spec.operators.operator import Array, Laws, ModelError, Value, register

__all__ = ["Merge"]


@register
class Merge(Grid):
    """Each 2 x 2 square of tokens [height*width, C] to one: [height*width/4, 4*C].

    Channels are those of (even row, even column), (odd, even), (even, odd), (odd, odd).
    """

    name = "merge"

    def infer(self, x: Value) -> Value:
        height, width = self.grid(x)
        if height % 2 or width % 2:
            raise ModelError(f"{self} needs an even grid, not {height} x {width}")
        return Value((x.shape[0] // 4, 4 * x.shape[1]), x.bits)

    def evaluate(self, _laws: Laws, x: Array) -> Array:
        grid = x.reshape(len(x), self["height"] // 2, 2, self["width"] // 2, 2, x.shape[2])
        return grid.transpose(0, 1, 3, 4, 2, 5).reshape(len(x), x.shape[1] // 4, -1)  # column parity, then row parity

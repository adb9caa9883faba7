"""What operators on the grid of tokens share."""

from __future__ import annotations

from typing import ClassVar

from hw.spec.operators.operator import Attribute, ModelError, Operator, Value

__all__ = ["SIDES", "Grid", "Windows"]

SIDES = (
    Attribute("height", range(1, 1 << 10), "tokens of a column of the grid"),
    Attribute("width", range(1, 1 << 10), "tokens of a row of the grid"),
)


class Grid(Operator):
    """Moves int8 or int16 tokens [height*width, C], which are a grid, row-major."""

    attributes: ClassVar[tuple[Attribute, ...]] = SIDES
    moves = True

    def grid(self, x: Value) -> tuple[int, int]:
        """Height and width of the grid that `x` is. Raises ModelError if it is not."""
        self.need(x, 2, 16)
        height, width = self["height"], self["width"]
        if x.shape[0] != height * width:
            raise ModelError(f"{self} needs {height} x {width} tokens, not {x.shape[0]}")
        return height, width


class Windows(Grid):
    """Between a grid and its windows, rolled by `shift`."""

    attributes = (
        *SIDES,
        Attribute("window", range(1, 1 << 8), "side of a window, divides height and width"),
        Attribute("shift", range(1 << 8), "tokens by which the grid is rolled, below window"),
    )

    def infer(self, x: Value) -> Value:
        height, width = self.grid(x)
        window, shift, name = self["window"], self["shift"], self.node.name
        if height % window or width % window:
            raise ModelError(f"window {window} of {name} must divide the grid {height} x {width}")
        if shift >= window:
            raise ModelError(f"shift of {name} must be below the window {window}, not {shift}")
        return x

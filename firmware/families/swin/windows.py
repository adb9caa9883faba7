"""Windows as rectangles of the token grid.

A window of the rolled grid is one rectangle of the grid before rolling, or, where the roll wrapped it around an edge,
two or four; and the mask lets tokens attend to those of their own rectangle only. So neither the roll nor the mask is
ever executed: attention runs rectangle by rectangle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from firmware.families.swin.grid import Area
from firmware.planner.spread import of_a_slice
from firmware.planner.steps import parts
from hw.spec.config import Config

__all__ = ["Rectangle", "Share", "mask", "rectangles", "shares", "stacks"]


@dataclass(frozen=True)
class Rectangle:
    """Tokens that attend to one another: rows y.. and columns x.. of the grid, at (in_y, in_x) of a window."""

    y: int
    x: int
    height: int
    width: int
    window: int
    in_y: int
    in_x: int

    @property
    def tokens(self) -> int:
        return self.height * self.width

    @property
    def area(self) -> Area:
        """Its place in the grid."""
        return Area(self.y, self.x, self.height, self.width)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Where it lies in its window: rectangles of equal shape have the same relative position bias."""
        return self.in_y, self.in_x, self.height, self.width

    def places(self, side: int) -> NDArray[np.int64]:
        """Its tokens' numbers in a window of `side` x `side`, row-major."""
        y, x = np.arange(self.in_y, self.in_y + self.height), np.arange(self.in_x, self.in_x + self.width)
        return (y[:, None] * side + x).ravel()


@dataclass(frozen=True)
class Share:
    """`tokens` tokens of a rectangle from number `first` on: what one item takes."""

    rectangle: Rectangle
    first: int
    tokens: int

    @property
    def areas(self) -> list[Area]:
        """Their places in the grid."""
        return self.rectangle.area.run(self.first, self.tokens)


def shares(rectangle: Rectangle, config: Config) -> list[Share]:
    """A rectangle in as few shares as there may be, which begin at whole words of transposed tokens."""
    most = config.slices * config.tokens
    if rectangle.tokens <= most:
        return [Share(rectangle, 0, rectangle.tokens)]
    return [Share(rectangle, *part) for part in parts(rectangle.tokens, most, config.rows)]


def stacks(found: Sequence[Rectangle], config: Config, most: int) -> list[list[Rectangle]]:
    """Rectangles, one after the other, whose Q, K and V are made together: of `most` rows of a slice, or one."""
    together: list[list[Rectangle]] = []
    rows = most
    for rectangle in found:
        more = of_a_slice(rectangle.tokens, config.slices)
        if rows + more > most:
            together.append([])
            rows = 0
        together[-1].append(rectangle)
        rows += more
    return together


def _bands(size: int, side: int, shift: int) -> list[tuple[int, int, int, int]]:
    """(start, length, window, position in the window) along one axis of the grid before rolling."""
    bands = [(window * side + shift, side, window, 0) for window in range(size // side)]
    if shift:
        start, _, window, _ = bands.pop()
        bands += [(start, side - shift, window, 0), (0, shift, window, side - shift)]
    return bands


def rectangles(height: int, width: int, side: int, shift: int) -> list[Rectangle]:
    """Every rectangle of a height x width grid of windows of `side`, rolled by -shift, from top to bottom."""
    found = [
        Rectangle(y, x, rows, columns, window_y * (width // side) + window_x, in_y, in_x)
        for (y, rows, window_y, in_y), (x, columns, window_x, in_x) in product(
            _bands(height, side, shift), _bands(width, side, shift)
        )
    ]
    return sorted(found, key=lambda r: (r.y, r.x))


def mask(height: int, width: int, side: int, shift: int) -> NDArray[np.int8]:
    """The mask [windows, n, n] that rectangles stand for: 1 where two tokens of a window lie in different ones."""
    label = np.zeros((height // side * (width // side), side * side), np.int64)
    for number, rectangle in enumerate(rectangles(height, width, side, shift)):
        label[rectangle.window, rectangle.places(side)] = number
    return (label[:, :, None] != label[:, None, :]).astype(np.int8)

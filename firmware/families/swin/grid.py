"""Tokens in WORK as a grid, and rectangles of it as transfers."""

from __future__ import annotations

from dataclasses import dataclass

from firmware.planner.transfer import Pattern

__all__ = ["Area", "Grid", "cut"]

_MAX_RUN = 1 << 12  # words of a run: the operand's width


@dataclass(frozen=True)
class Area:
    """Rows y.. and columns x.. of a grid."""

    y: int
    x: int
    height: int
    width: int

    @property
    def tokens(self) -> int:
        return self.height * self.width

    @property
    def slices(self) -> tuple[slice, slice]:
        """It in an array that is the grid."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)

    def run(self, first: int, count: int) -> list[Area]:
        """`count` of its tokens from number `first` on, row-major: the rest of a row, whole rows, part of a row."""
        found, stop = [], first + count
        while first < stop:
            y, x = divmod(first, self.width)
            rows = (stop - first) // self.width if x == 0 else 0
            columns = self.width if rows else min(self.width - x, stop - first)
            found.append(Area(self.y + y, self.x + x, max(rows, 1), columns))
            first += found[-1].tokens
        return found


def cut(area: Area, most: int) -> list[Area]:
    """`area` in parts of at most `most` (at least one) tokens: as many whole rows as fit, else parts of a row."""
    most = max(most, 1)
    rows, columns = (most // area.width, area.width) if most >= area.width else (1, most)
    return [
        Area(area.y + y, area.x + x, min(rows, area.height - y), min(columns, area.width - x))
        for y in range(0, area.height, rows)
        for x in range(0, area.width, columns)
    ]


@dataclass(frozen=True)
class Grid:
    """Tokens of `row` words each, row-major, `width` to a row of the grid, from word `offset` of WORK."""

    offset: int
    row: int
    width: int
    wide: int  # int16 channels

    def line(self, tokens: int) -> Grid:
        """The same `tokens` as a single row."""
        return Grid(self.offset, self.row, tokens, self.wide)

    def at(self, y: int, x: int) -> int:
        """First word of a token."""
        return self.offset + (y * self.width + x) * self.row

    def pattern(self, area: Area, scratch: int, column: int = 0, words: int | None = None) -> Pattern:
        """`words` words of each token from its word `column` on (all of it) <-> consecutive scratchpad words."""
        words = self.row if words is None else words
        start, line = self.at(area.y, area.x) + column, self.width * self.row
        second = (area.height, line, area.width * words)
        if words < self.row or area.width * words > _MAX_RUN:
            return Pattern(
                offset=start, scratch=scratch, run=(words, 1), first=(area.width, self.row, words), second=second
            )
        return Pattern(offset=start, scratch=scratch, run=(area.width * words, 1), second=second)

    def merged(self, area: Area, scratch: int) -> list[Pattern]:
        """2 x 2 squares as rows of four tokens: even row and column, odd row, odd column, both odd.

        `area` counts squares.
        """
        return [
            Pattern(
                offset=self.at(2 * area.y + y, 2 * area.x + x), scratch=scratch + place * self.row, run=(self.row, 1),
                first=(area.width, 2 * self.row, 4 * self.row),
                second=(area.height, 2 * self.width * self.row, area.width * 4 * self.row),
            )
            for place, (y, x) in enumerate([(0, 0), (1, 0), (0, 1), (1, 1)])
        ]  # fmt: skip

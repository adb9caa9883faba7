"""Scratchpad buffers of one slot: first fit from either end of its arena."""

from __future__ import annotations

from dataclasses import dataclass

from firmware.planner.dependencies import Access
from firmware.planner.program import CompileError

__all__ = ["Arena", "Buffer"]


@dataclass(frozen=True)
class Buffer:
    """`words` scratchpad words from `start`, as rows of `row` words.

    Rows of 16-bit numbers in two byte planes are those of the high plane; the low one is `plane` words further.
    """

    name: str
    start: int
    words: int
    row: int
    plane: int = 0

    def at(self, token: int) -> int:
        """First word of row `token`."""
        return self.start + token * self.row

    def part(self, first: int, rows: int) -> Buffer:
        """`rows` of its rows."""
        return Buffer(self.name, self.at(first), self.plane + rows * self.row, self.row, self.plane)

    def column(self, word: int) -> Buffer:
        """The same rows from their word number `word` on."""
        return Buffer(self.name, self.start + word, self.words - word, self.row, self.plane)

    def halves(self) -> tuple[Buffer, Buffer]:
        """The first half of its words, as rows of half the length, and the rest."""
        first = Buffer(self.name, self.start, self.words // 2, self.row // 2)
        return first, Buffer(self.name, self.start + first.words, self.words - first.words, first.row)

    def access(self) -> Access:
        return Access("scratch", self.start, self.start + self.words)


class Arena:
    """Words [start, stop) of the scratchpad, given out from below (operands of the array) or from above."""

    def __init__(self, start: int, stop: int) -> None:
        self._range = (start, stop)
        self._size = stop - start
        self._free: list[tuple[int, int]] = []
        self.clear()

    def clear(self) -> None:
        """Forget every buffer."""
        self._free = [self._range]

    @property
    def room(self) -> int:
        """Words of the largest hole."""
        return max((stop - start for start, stop in self._free), default=0)

    def allocate(self, name: str, rows: int, row: int, *, high: bool = False, planes: bool = False) -> Buffer:
        """A buffer of `rows` rows of `row` words, twice with `planes`.

        Raises CompileError when no hole is large enough.
        """
        words = rows * row * (1 + planes)
        holes = [hole for hole in self._free if hole[1] - hole[0] >= words]
        if not holes:
            raise CompileError(
                f"buffer {name} wants {words} scratchpad words, but only {self.room} of {self._size} are free in one "
                "piece; use a configuration with more banks x bank_words"
            )
        hole = holes[-1] if high else holes[0]
        self._free.remove(hole)
        start, stop = hole
        if high:
            taken, rest = stop - words, (start, stop - words)
        else:
            taken, rest = start, (start + words, stop)
        if rest[0] < rest[1]:
            self._free.append(rest)
            self._free.sort()
        return Buffer(name, taken, words, row, words // 2 if planes else 0)

    def with_low_plane(self, high: Buffer) -> Buffer:
        """Buffer `high` and as many words right behind it as its low plane. Raises CompileError if they are taken."""
        end = high.start + high.words
        hole = next((hole for hole in self._free if hole[0] == end and hole[1] - end >= high.words), None)
        if hole is None:
            raise CompileError(
                f"buffer {high.name} wants {high.words} scratchpad words more for its low byte plane, and they are not "
                "free behind it; use a configuration with more banks x bank_words"
            )
        self._free.remove(hole)
        if hole[1] > end + high.words:
            self._free.append((end + high.words, hole[1]))
            self._free.sort()
        return Buffer(high.name, high.start, 2 * high.words, high.row, high.words)

    def free(self, *buffers: Buffer) -> None:
        """Give buffers back; accesses to them stay ordered by the tracker, so reuse may follow at once."""
        for buffer in buffers:
            self._free.append((buffer.start, buffer.start + buffer.words))
        self._free.sort()
        merged: list[tuple[int, int]] = []
        for start, stop in self._free:
            if merged and merged[-1][1] == start:
                merged[-1] = (merged[-1][0], stop)
            else:
                merged.append((start, stop))
        self._free = merged

"""Scratchpad buffers of one slot: first fit from either end of its arena."""

from __future__ import annotations

from dataclasses import dataclass

from firmware.planner.dependencies import Access
from firmware.planner.program import CompileError

__all__ = ["Arena", "Buffer"]


@dataclass(frozen=True)
class Buffer:
    """`words` scratchpad words from `start`, as rows of `row` words."""

    name: str
    start: int
    words: int
    row: int

    def at(self, token: int) -> int:
        """First word of row `token`."""
        return self.start + token * self.row

    def part(self, first: int, rows: int) -> Buffer:
        """`rows` of its rows."""
        return Buffer(self.name, self.at(first), rows * self.row, self.row)

    def column(self, word: int) -> Buffer:
        """The same rows from their word number `word` on."""
        return Buffer(self.name, self.start + word, self.words - word, self.row)

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

    def allocate(self, name: str, rows: int, row: int, *, high: bool = False) -> Buffer:
        """A buffer of `rows` rows of `row` words. Raises CompileError when no hole is large enough."""
        words = rows * row
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
        return Buffer(name, taken, words, row)

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

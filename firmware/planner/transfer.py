"""Strided transfers between memory and scratchpad, as LOAD and STORE make them."""

from __future__ import annotations

from dataclasses import dataclass

from firmware.planner.dependencies import Access

__all__ = ["Pattern"]


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """Words of a strided transfer: run = (words, scratchpad step), others = (count, memory step, scratchpad step).

    Of a STORE, the first `skip` bytes of each word of a group's first run and the last `drop` of its last run are not
    written.
    """

    offset: int  # first memory word
    scratch: int  # first scratchpad word
    run: tuple[int, int]
    first: tuple[int, int, int] = (1, 0, 0)
    second: tuple[int, int, int] = (1, 0, 0)
    skip: int = 0
    drop: int = 0

    @property
    def words(self) -> int:
        return self.run[0] * self.first[0] * self.second[0]

    def operands(self) -> dict[str, int]:
        return {
            "offset": self.offset, "scratch": self.scratch, "run": self.run[0], "scratch0": self.run[1],
            "count1": self.first[0], "offset1": self.first[1], "scratch1": self.first[2],
            "count2": self.second[0], "offset2": self.second[1], "scratch2": self.second[2],
        }  # fmt: skip

    def work(self) -> tuple[Access, ...]:
        """What it touches in WORK: each group of runs from its first word to its last, adjacent ones as one."""
        span = self.run[0] + (self.first[0] - 1) * self.first[1]
        ranges: list[Access] = []
        for group in range(self.second[0]):
            start = self.offset + group * self.second[1]
            if ranges and ranges[-1].stop == start:
                start = ranges.pop().start
            ranges.append(Access("work", start, self.offset + group * self.second[1] + span))
        return tuple(ranges)

"""Dependency thresholds from what instructions read and write."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from hw.spec.isa import WAITED, Engine

__all__ = ["Access", "Tracker", "pages"]

_PAGE_BITS = 8  # events are found by the 256-word pages that they touch


@dataclass(frozen=True)
class Access:
    """Half-open range [start, stop) of a space: "scratch" (words), "work" (words), "row_max" or "stats" (banks)."""

    space: str
    start: int
    stop: int


@dataclass(frozen=True, eq=False)
class _Event:
    start: int
    stop: int
    write: bool
    engine: Engine
    ordinal: int


def pages(access: Access) -> list[tuple[str, int]]:
    """The pages it touches: accesses without a common one do not conflict."""
    return [(access.space, page) for page in range(access.start >> _PAGE_BITS, (access.stop - 1 >> _PAGE_BITS) + 1)]


class Tracker:
    """Remembers who touched what last and answers with thresholds.

    LOAD, VECTOR and STORE execute one instruction at a time and need no threshold on themselves; MATMUL reads ahead
    of its own drain, so only its read-after-write does.
    """

    def __init__(self) -> None:
        self._events: defaultdict[tuple[str, int], list[_Event]] = defaultdict(list)

    def waits(self, engine: Engine, reads: Iterable[Access], writes: Iterable[Access]) -> dict[Engine, int]:
        """Thresholds an instruction of `engine` with these accesses needs now."""
        needed: dict[Engine, int] = {}
        for accesses, write in ((reads, False), (writes, True)):
            for access in accesses:
                start, stop = access.start, access.stop
                for page in pages(access):
                    for event in self._events[page]:
                        if event.stop <= start or stop <= event.start or not (write or event.write):
                            continue
                        if event.engine == engine and not (engine == Engine.MATMUL and event.write and not write):
                            continue
                        if needed.get(event.engine, 0) <= event.ordinal:
                            needed[event.engine] = event.ordinal + 1
        assert all(other in WAITED for other in needed)
        return needed

    def commit(self, engine: Engine, ordinal: int, reads: Iterable[Access], writes: Iterable[Access]) -> None:
        """Record the accesses of instruction number `ordinal` of `engine`."""
        for access in reads:
            self._replace(access, _Event(access.start, access.stop, False, engine, ordinal))
        for access in writes:
            self._replace(access, _Event(access.start, access.stop, True, engine, ordinal))

    def _replace(self, access: Access, event: _Event) -> None:
        """A write supersedes what lies inside it: it waited for that. A read supersedes the engine's older reads."""
        for page in pages(access):
            low, high = page[1] << _PAGE_BITS, (page[1] + 1) << _PAGE_BITS
            start, stop = max(event.start, low), min(event.stop, high)
            self._events[page] = [
                old
                for old in self._events[page]
                if not (
                    start <= max(old.start, low)
                    and min(old.stop, high) <= stop
                    and (event.write or (not old.write and old.engine == event.engine))
                )
            ]
            self._events[page].append(event)

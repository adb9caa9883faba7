"""Dependency thresholds from what instructions read and write."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from hw.spec.isa import WAITED, Engine

__all__ = ["Access", "Tracker"]


@dataclass(frozen=True)
class Access:
    """Half-open range [start, stop) of a space: "scratch" (words), "work" (words), "row_max" or "stats" (banks)."""

    space: str
    start: int
    stop: int


@dataclass(frozen=True)
class _Event:
    start: int
    stop: int
    write: bool
    engine: Engine
    ordinal: int


class Tracker:
    """Remembers who touched what last and answers with thresholds.

    LOAD, VECTOR and STORE execute one instruction at a time and need no threshold on themselves; MATMUL reads ahead
    of its own drain, so only its read-after-write does.
    """

    def __init__(self) -> None:
        self._events: defaultdict[str, list[_Event]] = defaultdict(list)

    def waits(self, engine: Engine, reads: Iterable[Access], writes: Iterable[Access]) -> dict[Engine, int]:
        """Thresholds an instruction of `engine` with these accesses needs now."""
        needed: dict[Engine, int] = {}
        for accesses, write in ((reads, False), (writes, True)):
            for access in accesses:
                for event in self._events[access.space]:
                    if event.stop <= access.start or access.stop <= event.start or not (write or event.write):
                        continue
                    if event.engine == engine and not (engine == Engine.MATMUL and event.write and not write):
                        continue
                    needed[event.engine] = max(needed.get(event.engine, 0), event.ordinal + 1)
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
        self._events[access.space] = [
            old
            for old in self._events[access.space]
            if not (
                event.start <= old.start
                and old.stop <= event.stop
                and (event.write or (not old.write and old.engine == event.engine))
            )
        ]
        self._events[access.space].append(event)

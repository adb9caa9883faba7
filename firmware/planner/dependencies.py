"""Dependency thresholds from what instructions read and write."""

from __future__ import annotations

from collections.abc import Iterable

from hw.spec.isa import Engine

__all__ = ["Access", "Tracker"]

_PAGE_BITS = 8  # events are found by the 256-word pages that they touch
_SPACE_BITS = 32  # of pages that a space may have
_SPACES = {name: number << _SPACE_BITS for number, name in enumerate(("scratch", "work", "row_max", "stats"))}

# What touched a page: first word and word behind the last, whether they are written, by whom, in which instruction.
_Event = tuple[int, int, bool, Engine, int]


class Access:
    """Half-open range [start, stop) of a space: "scratch" (words), "work" (words), "row_max" or "stats" (banks).

    Accesses without a common one of their `pages` do not conflict.
    """

    __slots__ = ("pages", "space", "start", "stop")

    def __init__(self, space: str, start: int, stop: int) -> None:
        self.space, self.start, self.stop = space, start, stop
        first = _SPACES[space]
        self.pages = range(first + (start >> _PAGE_BITS), first + (stop - 1 >> _PAGE_BITS) + 1)


class Tracker:
    """Remembers who touched what last and answers with thresholds.

    LOAD, VECTOR and STORE execute one instruction at a time and need no threshold on themselves; MATMUL reads ahead
    of its own drain, so only its read-after-write does.
    """

    def __init__(self) -> None:
        self._events: dict[int, list[_Event]] = {}

    def waits(self, engine: Engine, reads: Iterable[Access], writes: Iterable[Access]) -> dict[Engine, int]:
        """Thresholds an instruction of `engine` with these accesses needs now."""
        needed: dict[Engine, int] = {}
        own, find = engine is Engine.MATMUL, self._events.get
        for access in reads:
            start, stop = access.start, access.stop
            for page in access.pages:
                for low, high, written, other, ordinal in find(page, ()):
                    if not (written and low < stop and start < high and (own or other is not engine)):
                        continue
                    if needed.get(other, 0) <= ordinal:
                        needed[other] = ordinal + 1
        for access in writes:
            start, stop = access.start, access.stop
            for page in access.pages:
                for low, high, _, other, ordinal in find(page, ()):
                    if not (low < stop and start < high and other is not engine):
                        continue
                    if needed.get(other, 0) <= ordinal:
                        needed[other] = ordinal + 1
        assert Engine.FETCH not in needed  # nobody can wait for it
        return needed

    def commit(self, engine: Engine, ordinal: int, reads: Iterable[Access], writes: Iterable[Access]) -> None:
        """Record the accesses of instruction number `ordinal` of `engine`."""
        for access in reads:
            self._replace(access, (access.start, access.stop, False, engine, ordinal))
        for access in writes:
            self._replace(access, (access.start, access.stop, True, engine, ordinal))

    def _replace(self, access: Access, event: _Event) -> None:
        """A write supersedes what lies inside it: it waited for that. A read supersedes the engine's older reads."""
        first, last, write, engine, _ = event
        events = self._events
        for page in access.pages:
            before = events.get(page)
            if before is None:
                events[page] = [event]
                continue
            low = (page & (1 << _SPACE_BITS) - 1) << _PAGE_BITS
            high = low + (1 << _PAGE_BITS)
            start, stop = max(first, low), min(last, high)
            kept = [
                old
                for old in before
                if (old[0] < start and low < start)
                or (old[1] > stop and high > stop)
                or not (write or (not old[2] and old[3] == engine))
            ]
            kept.append(event)
            events[page] = kept

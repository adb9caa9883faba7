"""Interleaves super-tiles: list scheduling over per-engine queues, emitting instructions with thresholds."""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate

from firmware.planner.costs import ISSUE
from firmware.planner.dependencies import Access, Tracker, pages
from firmware.planner.program import CompileError, Layer
from hw.spec import isa
from hw.spec.config import Config
from hw.spec.isa import Engine, Op

__all__ = ["Item", "Scheduler", "Stream", "Task", "most_slots"]

_TOGETHER = 64  # cycles: starts this close count as equal, and the longer item goes first
_COUNTER_LIMIT = 60_000  # thresholds are 16 bits; beyond this a SYNC starts the counters again


def most_slots(config: Config) -> int:
    """Slots for which there are banks: one of statistics and two of row maxima each; more than four never paid."""
    return min(4, config.stat_banks, config.row_max_banks // 2)


@dataclass(frozen=True)
class Stream:
    """What FETCH must append to the weight stream for a MATMUL."""

    region: isa.Region
    offset: int
    words: int
    reads: tuple[Access, ...] = ()


@dataclass(frozen=True)
class Task:
    """One instruction to be: its accesses, its layer, the cycles its engine is taken and those until it retires."""

    op: Op
    operands: dict[str, int]
    cost: int
    latency: int
    layer: str
    reads: tuple[Access, ...] = ()
    writes: tuple[Access, ...] = ()
    stream: Stream | None = None
    fetch: tuple[int, int] = (0, 0)  # cycles the stream's FETCH takes, and those until its first tile is in the array

    @cached_property
    def engine(self) -> Engine:
        engine = isa.engine_of(self.op)
        assert engine is not None
        return engine

    @cached_property
    def pages(self) -> frozenset[tuple[str, int]]:
        """What its waits depend on, and what it changes."""
        fetched = self.stream.reads if self.stream else ()
        return frozenset(page for access in (*self.reads, *self.writes, *fetched) for page in pages(access))


@dataclass(frozen=True)
class Item:
    """A super-tile's share of one block: may start in one of `slots` when the items in `after` have been emitted."""

    key: Hashable
    after: tuple[Hashable, ...]
    slots: frozenset[int]
    tasks: Callable[[int], Generator[Task, None, None]]  # called with the slot number


@dataclass
class _Active:
    """An item in a slot: its tasks, the one that is next, and the cost of each task and those after it."""

    item: Item
    tasks: list[Task]
    remaining: list[int]
    position: int = 0
    waits: tuple[dict[Engine, int], dict[Engine, int]] | None = None  # of the next task and its FETCH, if known

    @property
    def task(self) -> Task:
        return self.tasks[self.position]


@dataclass
class Scheduler:
    """Greedy list scheduler: of the tasks next in each slot, emit the one that could start first.

    Slots that share memory or banks are each other's `rivals`: only one of them has an item at a time.
    """

    slots: int
    layers: dict[str, Layer]
    rivals: Mapping[int, frozenset[int]] = field(default_factory=dict)
    _code: list[tuple[Op, dict[Engine, int], dict[str, int]]] = field(default_factory=list)
    counts: dict[Engine, int] = field(default_factory=lambda: dict.fromkeys(Engine, 0))
    makespan: int = 0
    emitted: dict[Hashable, int] = field(default_factory=dict)  # item -> instructions when its last one was emitted

    def __post_init__(self) -> None:
        self._tracker = Tracker()
        self._scratch: set[tuple[int, int]] = set()
        self._base = dict.fromkeys(Engine, 0)  # ordinal of the first instruction after the last SYNC
        self._free = dict.fromkeys(Engine, 0)
        self._finish: dict[Engine, list[int]] = {engine: [] for engine in Engine}

    @property
    def scratch_words(self) -> int:
        """Scratchpad words that any instruction uses."""
        used = bytearray(max((stop for _, stop in self._scratch), default=0))
        for start, stop in self._scratch:
            used[start:stop] = b"\1" * (stop - start)
        return sum(used)

    @property
    def code(self) -> bytes:
        """The program."""
        return b"".join(isa.encode(op, waits, **operands) for op, waits, operands in self._code)

    def run(self, items: Sequence[Item]) -> None:
        """Emit all items. Raises CompileError if they can never all start."""
        waiting = list(items)
        done: set[Hashable] = set()
        active: dict[int, _Active] = {}
        news = True  # an item has ended: a slot is free, and others may wait for nothing more
        while waiting or active:
            if news:
                for slot in range(self.slots):
                    if slot not in active and self.rivals.get(slot, frozenset()).isdisjoint(active):
                        self._take(slot, waiting, active, done)
                news = False
            if not active:
                raise CompileError(f"{len(waiting)} super-tiles wait for one another")
            slot = min(active, key=lambda s: self._urgency(active[s]))
            chosen = active[slot]
            self._emit(chosen)
            changed = chosen.task.pages
            for other in active.values():
                if not changed.isdisjoint(other.task.pages):
                    other.waits = None
            chosen.position, chosen.waits = chosen.position + 1, None
            if chosen.position == len(chosen.tasks):
                del active[slot]
                done.add(chosen.item.key)
                news = True
                self.emitted[chosen.item.key] = len(self._code)
        self._code.append((Op.HALT, {}, {}))

    def _urgency(self, active: _Active) -> tuple[int, int]:
        """Earliest start first. Among those that could start together, MATMUL serves the item with the most work left,
        so that all end together; the others serve the one with the least, so that one chain gets through to MATMUL."""
        task, remaining = active.task, active.remaining[active.position]
        return (self._start(active) // _TOGETHER, -remaining if task.engine == Engine.MATMUL else remaining)

    @staticmethod
    def _take(slot: int, waiting: list[Item], active: dict[int, _Active], done: set[Hashable]) -> None:
        for item in waiting:
            if slot in item.slots and all(key in done for key in item.after):
                waiting.remove(item)
                tasks = list(item.tasks(slot))
                costs = [task.cost for task in reversed(tasks)]
                active[slot] = _Active(item, tasks, list(accumulate(costs))[::-1])
                return

    def _waits(self, active: _Active) -> tuple[dict[Engine, int], dict[Engine, int]]:
        """Thresholds of the next task and of its FETCH."""
        if active.waits is None:
            task, waits = active.task, self._tracker.waits
            fetched = task.stream.reads if task.stream else ()
            active.waits = waits(task.engine, task.reads, task.writes), waits(Engine.FETCH, fetched, ())
        return active.waits

    def _start(self, active: _Active) -> int:
        task, (waits, fetch_waits) = active.task, self._waits(active)
        start = self._after(task.engine, waits)
        if task.stream:
            start = max(start, self._after(Engine.FETCH, fetch_waits) + task.fetch[1])
        return start

    def _after(self, engine: Engine, waits: dict[Engine, int]) -> int:
        return max(self._free[engine], *(self._finish[e][n - 1] for e, n in waits.items()), 0)

    def _emit(self, active: _Active) -> None:
        task = active.task
        if max(self.counts[engine] - self._base[engine] for engine in Engine) >= _COUNTER_LIMIT:
            self._synchronise()
        start, (waits, fetch_waits) = self._start(active), self._waits(active)
        if task.stream:
            self._fetch(task.stream, task.fetch[0], task.layer, fetch_waits)
        reads = (*task.reads, *(task.stream.reads if task.stream else ()))  # FETCH's reads end with its MATMUL
        self._append(task.op, waits, task.operands, task.layer)
        self._scratch.update((use.start, use.stop) for use in (*reads, *task.writes) if use.space == "scratch")
        self._tracker.commit(task.engine, self.counts[task.engine] - 1, reads, task.writes)
        self._account(task.engine, start, task.cost, task.latency)

    def _fetch(self, stream: Stream, cost: int, layer: str, waits: dict[Engine, int]) -> None:
        start = self._after(Engine.FETCH, waits)
        operands = {"region": stream.region, "offset": stream.offset, "words": stream.words}
        self._append(Op.FETCH, waits, operands, layer)
        self._account(Engine.FETCH, start, cost, 0)

    def _append(self, op: Op, waits: dict[Engine, int], operands: dict[str, int], layer: str) -> None:
        engine = isa.engine_of(op)
        assert engine is not None
        relative = {e: n - self._base[e] for e, n in waits.items() if n > self._base[e]}
        self._code.append((op, relative, operands))
        self.layers[layer].instructions.setdefault(engine, []).append(self.counts[engine])
        self.counts[engine] += 1

    def _account(self, engine: Engine, start: int, cost: int, latency: int) -> None:
        self._free[engine] = start + cost
        self._finish[engine].append(start + cost + latency + ISSUE)
        self.makespan = max(self.makespan, self._finish[engine][-1])

    def _synchronise(self) -> None:
        self._code.append((Op.SYNC, {}, {}))
        self._base = dict(self.counts)
        self._free = dict.fromkeys(Engine, self.makespan)

"""Interleaves super-tiles: list scheduling over per-engine queues, emitting instructions with thresholds."""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import inf

from firmware.planner.costs import ISSUE
from firmware.planner.dependencies import Access, Tracker
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


@dataclass(eq=False, slots=True)
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
    engine: Engine = field(init=False)
    pages: frozenset[int] = field(init=False)  # what its waits depend on, and what it changes

    def __post_init__(self) -> None:
        engine = isa.engine_of(self.op)
        assert engine is not None
        self.engine = engine
        accesses = (*self.reads, *self.writes, *(self.stream.reads if self.stream else ()))
        self.pages = frozenset().union(*[access.pages for access in accesses])


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
    ready: tuple[int, int] = (0, 0)  # when these are over

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
        self._accesses: list[Access] = []
        self._base = dict.fromkeys(Engine, 0)  # ordinal of the first instruction after the last SYNC
        self._most = 0  # of the counters' values since then
        self._free = dict.fromkeys(Engine, 0)
        self._finish: dict[Engine, list[int]] = {engine: [] for engine in Engine}

    @property
    def scratch_words(self) -> int:
        """Scratchpad words that any instruction uses."""
        ranges = {(use.start, use.stop) for use in self._accesses if use.space == "scratch"}
        used = bytearray(max((stop for _, stop in ranges), default=0))
        for start, stop in ranges:
            used[start:stop] = b"\1" * (stop - start)
        return sum(used)

    @property
    def code(self) -> bytes:
        """The program."""
        return b"".join(isa.encode(op, waits, **operands) for op, waits, operands in self._code)

    def run(self, items: Sequence[Item], limit: float = inf) -> bool:
        """Emit all items. Returns whether they end within `limit` cycles: if not, it has left off.

        Raises CompileError if they can never all start.
        """
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
            slot = min(active, key=lambda s: self._urgency(active[s])) if len(active) > 1 else next(iter(active))
            chosen = active[slot]
            self._emit(chosen)
            if self.makespan > limit:
                return False
            for other in active.values():
                if other.waits and other is not chosen and not chosen.task.pages.isdisjoint(other.task.pages):
                    other.waits = None
            chosen.position, chosen.waits = chosen.position + 1, None
            if chosen.position == len(chosen.tasks):
                del active[slot]
                done.add(chosen.item.key)
                news = True
                self.emitted[chosen.item.key] = len(self._code)
        self._code.append((Op.HALT, {}, {}))
        return True

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
            active.ready = self._over(active.waits[0]), self._over(active.waits[1])
        return active.waits

    def _over(self, waits: dict[Engine, int]) -> int:
        """When what reaches these thresholds has retired."""
        return max([self._finish[engine][count - 1] for engine, count in waits.items()], default=0)

    def _start(self, active: _Active) -> int:
        self._waits(active)
        task, (ready, fetch_ready) = active.task, active.ready
        start = max(self._free[task.engine], ready)
        if task.stream:
            start = max(start, max(self._free[Engine.FETCH], fetch_ready) + task.fetch[1])
        return start

    def _emit(self, active: _Active) -> None:
        task = active.task
        if self._most >= _COUNTER_LIMIT:
            self._synchronise()
        start, (waits, fetch_waits) = self._start(active), self._waits(active)
        reads = task.reads
        if task.stream:
            fetched = max(self._free[Engine.FETCH], active.ready[1])
            self._fetch(task.stream, fetched, task.fetch[0], task.layer, fetch_waits)
            reads = (*reads, *task.stream.reads)  # FETCH's reads end with its MATMUL
        self._append(task.op, task.engine, waits, task.operands, task.layer)
        self._accesses += (*reads, *task.writes)
        self._tracker.commit(task.engine, self.counts[task.engine] - 1, reads, task.writes)
        self._account(task.engine, start, task.cost, task.latency)

    def _fetch(self, stream: Stream, start: int, cost: int, layer: str, waits: dict[Engine, int]) -> None:
        operands = {"region": stream.region, "offset": stream.offset, "words": stream.words}
        self._append(Op.FETCH, Engine.FETCH, waits, operands, layer)
        self._account(Engine.FETCH, start, cost, 0)

    def _append(self, op: Op, engine: Engine, waits: dict[Engine, int], operands: dict[str, int], layer: str) -> None:
        relative = {e: n - self._base[e] for e, n in waits.items() if n > self._base[e]}
        self._code.append((op, relative, operands))
        self.layers[layer].instructions.setdefault(engine, []).append(self.counts[engine])
        self.counts[engine] += 1
        self._most = max(self._most, self.counts[engine] - self._base[engine])

    def _account(self, engine: Engine, start: int, cost: int, latency: int) -> None:
        finish = start + cost + latency + ISSUE
        self._free[engine] = start + cost
        self._finish[engine].append(finish)
        self.makespan = max(self.makespan, finish)

    def _synchronise(self) -> None:
        self._code.append((Op.SYNC, {}, {}))
        self._base, self._most = dict(self.counts), 0
        self._free = dict.fromkeys(Engine, self.makespan)

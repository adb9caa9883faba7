"""Are a program's dependency thresholds sufficient? Every pair of conflicting accesses must be ordered by them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hw.spec.isa import Engine

__all__ = ["Access", "Hazard", "HazardTracker"]

Array = NDArray[Any]
_SERIAL = {Engine.LOAD, Engine.VECTOR, Engine.STORE}  # one instruction at a time
_ORDERED = {Engine.LOAD, Engine.STORE}  # an instruction writes word after word in the order the manual gives


class Access(NamedTuple):
    """Addresses of a space: "scratch" in bytes, reads of whole words; a region's name in words; "row_max" and "stats"
    in banks."""

    space: str
    addresses: Array
    write: bool
    in_place: bool = False  # a read: of each address, before the instruction itself writes it


class Hazard(NamedTuple):
    """Two instructions (program indices) whose order nothing guarantees, and the lowest address they share."""

    kind: str  # "read after write", "write after read", "write after write"; of an instruction with itself, see there
    first: int
    second: int
    space: str
    address: int

    def __str__(self) -> str:
        where = f"at {self.space} {self.address}"
        if self.first == self.second:
            return f"{self.kind}: instruction {self.first} meets itself {where}"
        return f"{self.kind}: instruction {self.second} does not wait for {self.first} {where}"


@dataclass
class _Node:
    index: int
    engine: Engine
    ordinal: int  # among its engine's instructions since the last barrier
    start: Array  # instructions of each engine that have certainly retired when this one starts
    retire: Array  # ... and when it retires


class HazardTracker:
    """Follows an execution in any order the thresholds allow and collects what they leave unordered in ``found``.

    Retirement that a started instruction implies: what its thresholds ask for, what those instructions' own
    thresholds asked for, and so on; what its predecessor in the same engine knew; for LOAD, VECTOR and STORE
    the predecessor itself. A MATMUL has retired only after the FETCHes it took words from, and those after
    their thresholds. Within MATMUL, reads and writes each go in program order and a write follows its own reads, so
    only a read after a write needs a threshold there.

    An instruction by itself is a hazard where it reads what it writes ("overlap"), unless the read is in place, and
    where it writes twice ("twice"), for engines that promise no order of their writes: LOAD and STORE do.
    """

    def __init__(self, sizes: Mapping[str, int]):
        self._sizes = dict(sizes)
        self.found: list[Hazard] = []
        self.barrier()

    def barrier(self) -> None:
        """Everything before has retired; counters restart."""
        self._nodes: list[_Node] = []
        self._engines: dict[Engine, list[_Node]] = {engine: [] for engine in Engine}
        self._writer = {space: np.full(size, -1, np.int32) for space, size in self._sizes.items()}
        self._reader: dict[tuple[str, Engine], Array] = {}

    def record(
        self, index: int, engine: Engine, waits: Mapping[Engine, int], accesses: Iterable[Access],
        *, fetches: Iterable[int] = (), fetched: int = 0,
    ) -> None:  # fmt: skip
        """The next executed instruction. `fetches`: ordinals of the FETCHes it took words from, `fetched`: how many
        FETCHes are used up then."""
        queue = self._engines[engine]
        start = np.zeros(len(Engine), np.int64)
        for other, count in waits.items():
            np.maximum(start, self._engines[other][count - 1].retire, out=start)
        if queue:
            np.maximum(start, queue[-1].retire if engine in _SERIAL else queue[-1].start, out=start)
        retire = np.maximum(start, queue[-1].retire) if queue else start.copy()
        for fetch in fetches:
            np.maximum(retire, self._engines[Engine.FETCH][fetch].start, out=retire)
        retire[Engine.FETCH] = max(retire[Engine.FETCH], fetched)
        retire[engine] = max(retire[engine], len(queue) + 1)
        node = _Node(index, engine, len(queue), start, retire)
        merged = list(_merge(accesses))
        for access in merged:
            self._check(node, access)
        self._check_itself(node, merged)
        self._remember(node, merged)

    def _check(self, node: _Node, access: Access) -> None:
        at = access.addresses
        self._compare(
            node, access, self._writer[access.space][at], "write after write" if access.write else "read after write"
        )
        if access.write:
            for engine in Engine:
                readers = self._reader.get((access.space, engine))
                if readers is not None:
                    self._compare(node, access, readers[at], "write after read")

    def _compare(self, node: _Node, access: Access, earlier: Array, kind: str) -> None:
        for number in np.flatnonzero(np.bincount(earlier + 1, minlength=1)[1:]):
            other = self._nodes[number]
            ordered = node.start[other.engine] > other.ordinal
            pipelined = node.engine == other.engine == Engine.MATMUL and kind != "read after write"
            if not (ordered or pipelined):
                address = int(access.addresses[earlier == number].min())
                self.found.append(Hazard(kind, other.index, node.index, access.space, address))

    def _check_itself(self, node: _Node, accesses: list[Access]) -> None:
        for space in {access.space for access in accesses}:
            mine = [access for access in accesses if access.space == space]
            written = np.concatenate([access.addresses for access in mine if access.write] or [np.zeros(0, np.int64)])
            read = np.zeros(self._sizes[space], bool)
            for access in mine:
                if not (access.write or access.in_place):
                    read[access.addresses] = True
            self._report("overlap", node, space, written[read[written]])
            if node.engine not in _ORDERED:
                times = np.bincount(written, minlength=1)
                self._report("twice", node, space, np.flatnonzero(times > 1))

    def _report(self, kind: str, node: _Node, space: str, addresses: Array) -> None:
        if addresses.size:
            self.found.append(Hazard(kind, node.index, node.index, space, int(addresses.min())))

    def _remember(self, node: _Node, accesses: list[Access]) -> None:
        number = len(self._nodes)
        self._nodes.append(node)
        self._engines[node.engine].append(node)
        for space, addresses, write, _ in accesses:
            if write:
                self._writer[space][addresses] = number
            else:
                key = (space, node.engine)
                if key not in self._reader:
                    self._reader[key] = np.full(self._sizes[space], -1, np.int32)
                self._reader[key][addresses] = number


def _merge(accesses: Iterable[Access]) -> Iterable[Access]:
    """One access per space, direction and whether it is in place."""
    groups: defaultdict[tuple[str, bool, bool], list[Array]] = defaultdict(list)
    for access in accesses:
        groups[access.space, access.write, access.in_place].append(np.ravel(access.addresses))
    for (space, write, in_place), parts in groups.items():
        yield Access(space, parts[0] if len(parts) == 1 else np.concatenate(parts), write, in_place)

"""MATMUL, tile by tile, and within a tile as far as the weight stream is known."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from functools import cache

from hw.matmul.accumulator import Accumulator
from hw.matmul.array import Array
from hw.matmul.drain import Drain
from hw.matmul.engine import MatmulEngine
from hw.matmul.result_writer import ResultWriter
from hw.matmul.streamer import Streamer
from hw.spec.isa import TOGETHER, Engine, Kind
from hw.spec.memory import param_words, tiles
from hw.units.scratchpad import Scratchpad
from sim.cycles.scratch import Conflicts, matmul_share, together
from sim.cycles.surroundings import Surroundings

__all__ = ["Matmul"]

_FIRST_TOKEN = 1 + Streamer.timing(scratch_latency=Scratchpad.latency).latency  # after the register of the operands


class Matmul:
    """Feeder (weights), streamer (tokens) and drain (results) of consecutive instructions.

    A pass begins at the latest of: the former pass begun + its tokens (at least `cols` cycles, for the feeder loads
    meanwhile), its own weights loaded, and, if it ends a tile, room for the results in the queue of sums.
    """

    def __init__(self, machine: Surroundings) -> None:
        config = machine.config
        self._machine, self._config = machine, config
        self._to_drain = Array.timing(rows=config.rows).latency + Accumulator.latency + 1 + Drain.lead
        self._to_retire = Drain.latency - Drain.lead + ResultWriter.latency + together(config)
        self._ahead = Streamer.ahead(scratch_latency=Scratchpad.latency)
        self.ready: int | None = 0
        self.beats = 0
        self._stream: deque[tuple[int, int]] = deque()  # (position after a chunk, cycle of its last word)
        self._supplied = 0
        self.taken = 0  # words of the stream that the feeder has taken
        self._takes: deque[tuple[int, int, int, int]] = deque([(0, 0, 0, 0)])  # (from, first cycle, to, last cycle)
        self._feeder = 0  # it may take the next word
        self._pass = 0  # the last pass began
        self._next = 0  # the next one may begin, for the array's sake
        self._queue: deque[tuple[Mapping[str, int], int]] = deque()
        self._current: Mapping[str, int] | None = None
        self._drained = 0  # the drain may begin the next token
        # (results so far, cycle in which the first one's drain began, cycles of all, how many)
        self._sums: deque[tuple[int, int, int, int]] = deque()
        self._pushed = 0
        self._slots: deque[int] = deque([0] * MatmulEngine.slots)  # when each ring slot becomes free, oldest first
        self._read_end = 0
        self.conflicts = Conflicts()

    def start(self, now: int, o: Mapping[str, int]) -> None:
        self.ready = None
        self._queue.append((o, now))
        self.advance()

    def supply(self, words: int, first: int) -> None:
        """FETCH: `words` more, the first one in cycle `first`, one per cycle."""
        self._supplied += words
        self._stream.append((self._supplied, first + words - 1))
        self.advance()

    def taken_at(self, position: int) -> int | None:
        """The cycle in which the stream's word number `position` (from 1) is taken; None if not yet known."""
        if position <= 0:
            return 0
        if position > self.taken:
            return None
        while self._takes[0][2] < position:
            self._takes.popleft()
        start, first, stop, last = self._takes[0]
        return first + (last - first) * (position - start) // (stop - start)

    def _arrival(self, position: int) -> int | None:
        """The cycle in which word number `position` (from 1) can be taken."""
        while self._stream and self._stream[0][0] < position:
            self._stream.popleft()
        if not self._stream:
            return None
        stop, last = self._stream[0]
        return last - (stop - position)

    def advance(self) -> None:
        """Everything that can be known now."""
        position = self.taken
        while self._current is not None or self._queue:
            if self._current is None:
                self._begin(*self._queue.popleft())
            if not (self._load_parameters() if self._parameters else self._run_passes()):
                break
        if self.taken != position:
            self._machine.fetch.wake()

    def _begin(self, o: Mapping[str, int], now: int) -> None:
        config = self._config
        self._current = o
        self._tiles = tiles(o["outputs"], config)
        self._tile = self._done = 0
        self._parameters = bool(o["per_channel"])
        planes = 1 + o["two_planes"]
        self._tokens = o["rows"] * planes
        self._period = max(config.cols, self._tokens)
        if planes == 2 and o["rows"] < Accumulator.distance - 1:
            self._period = max(self._period, o["rows"] + 2 * Accumulator.distance - 1)
        self._next = max(self._next, now + _FIRST_TOKEN)
        self._feeder = max(self._feeder, now + 2)
        # The next one is accepted when the streamer has taken this one, having read all words of the former.
        self.ready = max(now + 3, self._read_end + 1) + together(config)
        self.conflicts.share = matmul_share(config, o)
        self._slack = self._period - self._tokens
        self._machine.poke(Engine.MATMUL)

    def _load_parameters(self) -> bool:
        words = self._config.cols * param_words(self._config)
        arrival = self._arrival(self.taken + words)
        if arrival is None:
            return False
        begin = max(self._feeder, self._slots.popleft(), arrival + 1 - words)
        self._take(words, begin, begin + words)
        self._parameters = False
        return True

    def _take(self, words: int, begin: int, end: int) -> None:
        self._takes.append((self.taken, begin, self.taken + words, end - 1))
        self.taken += words
        self._feeder = end

    def _run_passes(self) -> bool:
        """Passes whose last word lies in the same chunk as the next one's."""
        o, cols = self._current, self._config.cols
        assert o is not None
        arrival = self._arrival(self.taken + cols)
        if arrival is None:
            return False
        count = min((self._stream[0][0] - self.taken) // cols, o["passes"] - self._done)
        begin = max(self._feeder, self._pass, arrival + 1 - cols)
        if not o["per_channel"] and not self._done:
            begin = max(begin, self._slots.popleft())
        loaded = begin + cols
        first = max(self._next, loaded)
        lost = self.conflicts.lost(first, first + count * self._period)
        last = first + (count - 1) * self._period + max(0, lost - count * self._slack)
        self._done += count
        final = self._done == o["passes"]
        self._take(cols * count, begin, max(loaded, last - self._period + cols))
        if final:
            last = max(last, self._room(o["rows"]) - self._tokens + 1)
        self._pass = last
        self._next = last + self._period
        if final:
            self._end_tile(o, last)
        return True

    def _room(self, tokens: int) -> int:
        """The cycle from which the last of `tokens` more results has room in the queue of sums."""
        needed = self._pushed + tokens - self._config.tokens
        if needed <= 0:
            return 0
        while self._sums and self._sums[0][0] < needed:
            self._sums.popleft()
        total, begin, cycles, count = self._sums[0]
        return begin + (needed - (total - count) - 1) * cycles // count

    def _end_tile(self, o: Mapping[str, int], last: int) -> None:
        config, rows = self._config, o["rows"]
        self._tile += 1
        self.beats += self._tokens * o["passes"]
        outputs = min(config.cols, o["outputs"] - (self._tile - 1) * config.cols)
        cycles, behind = self._writes(o, outputs)
        begin = max(self._drained, last + (self._tokens - rows) + self._to_drain)
        self._drained = begin + cycles
        self._pushed += rows
        self._sums.append((self._pushed, begin, cycles, rows))
        self._slots.append(self._drained)
        self._done = 0
        self._parameters = bool(o["per_channel"])
        if self._tile == self._tiles:
            self._current = None
            self._read_end = self._next - self._ahead
            raw = o["kind"] == Kind.INT32
            skipped = Drain.latency - Drain.raw_latency if raw else 0
            self._machine.retire(Engine.MATMUL, self._drained - 1 + behind + self._to_retire - skipped)

    def _writes(self, o: Mapping[str, int], outputs: int) -> tuple[int, int]:
        """Cycles of gatherer and writer for a tile of so many outputs, and those of the writer alone after them."""
        lanes, kind, rows = self._config.drain_lanes, Kind(o["kind"]), o["rows"]
        items = -(-outputs // lanes)
        if o["transpose"]:  # in every slice, whose tokens begin anywhere in an element
            begins = range(o["dest"], o["dest"] + rows * self._config.slices, rows)
            return max(_gathered(first % TOGETHER, rows, outputs, lanes) for first in begins)
        item = lanes * kind.step
        planes = kind is Kind.PLANES
        places = o["dest"] | o["dest_row"] | (o["dest_col"] if planes else 0)
        aligned = not places % item and item <= self._config.rows
        return rows * items * (1 if aligned else lanes) * (1 + planes), 0


@cache
def _gathered(first: int, rows: int, outputs: int, lanes: int) -> tuple[int, int]:
    """Cycles in which the gatherer takes a tile's items, or the writer its elements if those are more, and the rest.

    An output is a cycle of the writer; meanwhile the next element's tokens are gathered, but not those of a third.
    """
    items = -(-outputs // lanes)
    taken = written = former = token = 0  # ends of the last element's items and outputs, of the former one's outputs
    while token < rows:
        tokens = min(TOGETHER - first, rows - token)
        taken = max(taken, former) + tokens * items
        former, written = written, max(taken, written) + outputs
        first, token = 0, token + tokens
    cycles = max(taken, written - outputs)
    return cycles, written - cycles

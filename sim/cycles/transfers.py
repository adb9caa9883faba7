"""FETCH, LOAD and STORE, burst by burst."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping

from hw.axi.read_arbiter import AxiReadArbiter
from hw.dma import LoadEngine, StoreEngine
from hw.dma.burst_generator import PAGE, BurstGenerator
from hw.dma.fetch import OUTSTANDING
from hw.spec.config import Config
from hw.spec.isa import Engine
from hw.units.broadcast import Broadcast
from hw.units.stream_fifo import StreamFIFO
from sim.cycles.scratch import store_share
from sim.cycles.surroundings import Surroundings

__all__ = ["ACCEPTED", "Fetch", "Load", "Store", "bursts"]

ACCEPTED = 1 + AxiReadArbiter.latency  # from a check to the acceptance of a read: Send, the arbiter's register


def bursts(config: Config, base: int, o: Mapping[str, int]) -> Iterator[tuple[int, int, bool]]:
    """(byte address, words, whether it is the first of a later run) of the bursts of a LOAD or STORE."""
    size = config.word_bytes
    most = min(config.burst_beats, PAGE // size)
    for k2 in range(o["count2"]):
        for k1 in range(o["count1"]):
            word = base // size + o["offset"] + k2 * o["offset2"] + k1 * o["offset1"]
            left, turned = o["run"], bool(k1 or k2)
            while left:
                words = min(left, most, (PAGE // size) - word % (PAGE // size))
                yield word * size, words, turned
                word, left, turned = word + words, left - words, False


class Fetch:
    """Words arrive in chunks: bursts, or while nothing else uses the memory, what is left of a page."""

    def __init__(self, machine: Surroundings) -> None:
        self._machine, self._config = machine, machine.config
        self.ready: int | None = 0  # from when the next instruction is taken; None while that is not known
        self.requested = 0  # words of the stream
        self._address = self._left = 0
        self._waiting: int | None = None  # the check that waits for room, since this cycle
        self._ends: deque[int] = deque(maxlen=OUTSTANDING)  # last words of the latest bursts
        self._long = max(self._config.burst_beats, self._config.stream_words // 4)
        self._depth = self._config.stream_words + self._config.ahead_words
        self._latency = StreamFIFO.latency + (Broadcast.latency if self._config.slices > 1 else 0)

    def start(self, now: int, o: Mapping[str, int]) -> None:
        self.ready = None
        self._address = self._machine.base(o["region"]) + o["offset"] * self._config.word_bytes
        self._left = o["words"]
        self._machine.at(now + BurstGenerator.latency, self._check)

    def wake(self) -> None:
        """MATMUL knows when it takes more words."""
        if self._waiting is not None:
            now, self._waiting = max(self._waiting, self._machine.now), None
            self._machine.at(now, self._check)

    def _check(self, now: int) -> None:
        """Finds out when the next words have room, and requests them then."""
        machine, bus, most = self._machine, self._machine.bus, self._config.burst_beats
        page = bus.page_words(self._address)
        words = min(most if machine.contended(now) else self._long, self._left, page)
        room = machine.matmul.taken_at(self.requested + words - self._depth)
        if room is None:  # MATMUL waits for others: request what has room for sure
            words = min(words, machine.matmul.taken + self._depth - self.requested) // most * most
            if not words:
                self._waiting = now
                return
            room = 0
        done = self._ends[0] if len(self._ends) == OUTSTANDING else 0
        self._words = words
        when = bus.accepts(max(now, room + 1, done + 1) + ACCEPTED, most) - ACCEPTED
        if when > now:
            machine.at(when, self._request)
        else:
            self._request(now)

    def _request(self, now: int) -> None:
        machine, bus, most, words = self._machine, self._machine.bus, self._config.burst_beats, self._words
        if words > most and machine.contended(now):
            words = most
        first = bus.read(self._address, words, now + ACCEPTED)
        last = first + words * 100 // bus.model.rate - 1
        for k in range(most, words, most):
            self._ends.append(first + k * 100 // bus.model.rate - 1)
        self._ends.append(last)
        self.requested += words
        self._address += words * self._config.word_bytes
        self._left -= words
        if self._left:
            machine.at(now + BurstGenerator.interval * -(-words // most), self._check)
        else:
            self.ready = last + 1
            machine.retire(Engine.FETCH, last)
        machine.matmul.supply(words, first + self._latency)


class Load:
    """Two halves: one requests what the FIFO has room for, the other writes a word per cycle."""

    def __init__(self, machine: Surroundings) -> None:
        self._machine, self._config = machine, machine.config
        self.ready: int | None = 0
        self.active_until = 0
        self.words = 0
        self._fifo = LoadEngine.ahead(burst_beats=self._config.burst_beats)
        self._requested = 0
        self._written: deque[tuple[int, int]] = deque()  # (words of all bursts so far, cycle of its last write)
        self._write_free = self._taken = 0
        self._room_cycle = 0
        self._bursts: Iterator[tuple[int, int, bool]] = iter(())
        self._next: tuple[int, int, bool] | None = None

    def start(self, now: int, o: Mapping[str, int]) -> None:
        self.ready = None
        self._bursts = bursts(self._config, self._machine.base(o["region"]), o)
        self._next = next(self._bursts)
        self._write_free = max(self._write_free + 1, now + 2)  # the walker has an idle cycle between walks
        self._taken = self._write_free  # the writing half begins with this instruction
        self._machine.at(now + BurstGenerator.latency, self._check)

    def _room(self, words: int) -> int:
        """The cycle from which `words` more may be requested."""
        needed = self._requested + words - self._fifo
        cycle = 0
        while self._written and self._written[0][0] < needed:
            self._written.popleft()
        if self._written and needed > 0:
            total, last = self._written[0]
            cycle = last - (total - needed)  # words of a burst are written in consecutive cycles
        self._room_cycle = max(cycle, self._room_cycle)
        return self._room_cycle + 1

    def _check(self, now: int) -> None:
        machine, bus = self._machine, self._machine.bus
        assert self._next is not None
        address, words, _ = self._next
        room = self._room(words)
        when = bus.accepts(max(now, room) + ACCEPTED, self._config.burst_beats) - ACCEPTED
        if when > now:
            machine.at(when, self._check)
            return
        first = bus.read(address, words, now + ACCEPTED)
        begin = max(first + StreamFIFO.latency, self._write_free)
        last = max(begin + words, first + StreamFIFO.latency + words * 100 // bus.model.rate) - 1
        self._requested += words
        self.words += words
        self._written.append((self._requested, last))
        self._write_free = last + 1
        self.active_until = last
        self._next = next(self._bursts, None)
        if self._next:
            machine.at(now + BurstGenerator.interval + (BurstGenerator.turn if self._next[2] else 0), self._check)
            return
        self.ready = max(now + 2, self._taken)
        machine.retire(Engine.LOAD, last + 1)


class Store:
    """A burst is announced when its words have been read; the next instruction waits for the last response."""

    def __init__(self, machine: Surroundings) -> None:
        self._machine, self._config = machine, machine.config
        self.ready: int | None = 0
        self.active_until = 0
        self.words = 0
        self._fifo = StoreEngine.ahead(burst_beats=self._config.burst_beats)

    def start(self, now: int, o: Mapping[str, int]) -> None:
        self.ready = None
        self._bursts = bursts(self._config, self._machine.base(o["region"]), o)
        self._read = now  # cycle of the last read so far
        self._sent: deque[tuple[int, int]] = deque()  # (first cycle, words) of the bursts on the write channel
        self._room = self._fifo  # words that may be read before one must have been sent
        self._responses: deque[int] = deque()
        self._channel = 0  # the write channel is free
        self._next = next(self._bursts)
        words = o["run"] * o["count1"] * o["count2"]
        self._machine.matmul.conflicts.add(now, now + words, store_share(self._config, o))
        self._prepare(now + BurstGenerator.latency)

    def _prepare(self, check: int) -> None:
        """Reads the next burst's words, checks it and sends it."""
        _, words, _ = self._next
        for left in range(words, 0, -1):
            if self._room >= left:
                self._read += left
                self._room -= left
                break
            if self._room:
                self._room -= 1
                self._read += 1
                continue
            first, count = self._sent[0]
            self._read = max(self._read + 1, first + 1)
            self._sent[0] = (first + 1, count - 1)
            if count == 1:
                self._sent.popleft()
        check = max(check, self._read + 1)
        if len(self._responses) == StoreEngine.bursts:
            check = max(check, self._responses.popleft() + 1)
        first = max(check + StoreEngine.latency, self._channel)
        self._channel = first + words
        self._sent.append((first, words))
        self.active_until = self._channel
        self._machine.at(self._channel - 1, lambda now: self._written(now, check))

    def _written(self, now: int, check: int) -> None:
        address, words, _ = self._next
        self.words += words
        response = self._machine.bus.write(address, words, now)
        self._responses.append(max(response, (self._responses[-1] + 1) if self._responses else 0))
        following = next(self._bursts, None)
        if following:
            self._next = following
            self._prepare(check + BurstGenerator.interval + (BurstGenerator.turn if following[2] else 0))
            return
        self.ready = self._responses[-1] + 1
        self._machine.retire(Engine.STORE, self._responses[-1])

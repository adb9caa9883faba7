"""The sequencer and the clock: instructions in program order, thresholds, and events in the order of their cycles."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping

from hw.boards.memory import Memory
from hw.sequencer.instruction_queue import InstructionQueue
from hw.sequencer.sequencer import Sequencer
from hw.spec.config import Config
from hw.spec.isa import INSTRUCTION_BYTES, Engine, Instruction, Op, Region, decode_program, engine_of
from hw.spec.vector import row_of
from sim.cycles.matmul import Matmul
from sim.cycles.memory import Bus
from sim.cycles.scratch import handed, together, vector_share
from sim.cycles.transfers import ACCEPTED, Fetch, Load, Store
from sim.cycles.vector import VectorTiming

__all__ = ["Machine"]


class Vector:
    """One instruction at a time."""

    def __init__(self, machine: Machine) -> None:
        self._machine, self._timing = machine, VectorTiming(machine.config)
        self.ready: int | None = 0
        self.busy = 0

    def start(self, now: int, instruction: Instruction) -> None:
        row, operands = row_of(instruction.op), instruction.operands
        assert row is not None
        end = now + 1 + self._timing.cycles(row, operands) + together(self._machine.config)
        self.busy += self._timing.busy(row, operands)
        self.ready = end
        share = vector_share(self._machine.config, row, operands)
        self._machine.matmul.conflicts.add(now, end, share)
        self._machine.retire(Engine.VECTOR, end)


class Machine:
    """Runs `code` once; ``cycles`` and ``intervals`` tell when, counted from the cycle in which it is RUNNING."""

    def __init__(
        self, config: Config, code: bytes, *, program: int, bases: Mapping[Region, int], memory: Memory
    ) -> None:
        self.config, self._program, self._bases = config, program, bases
        self.bus = Bus(memory, config.word_bytes)
        self._code = decode_program(code)
        self._events: list[tuple[int, int, Callable[[int], None]]] = []
        self._sequence = self.now = 0
        self.fetch, self.load, self.matmul = Fetch(self), Load(self), Matmul(self)
        self.store, self.vector = Store(self), Vector(self)
        self._engines = (self.fetch, self.load, self.matmul, self.vector, self.store)
        self._arrived: list[list[tuple[int, Instruction]]] = [[] for _ in Engine]  # cycle of the last word
        self.started: list[list[int]] = [[] for _ in Engine]
        self.retired: list[list[int]] = [[] for _ in Engine]
        self._issued = [0] * len(Engine)
        self._base = [0] * len(Engine)  # issued before the last SYNC
        self._fired = [0] * len(Engine)  # the last issue
        self._planned = [False] * len(Engine)
        self._burst = config.program_burst
        self._head = InstructionQueue.timing(word_bits=config.word_bits).latency
        self._index = 0
        self._reading = False
        self._read_waits: int | None = None
        self._stopped: int | None = None
        self.at(Sequencer.prepare, self._plan)
        self.cycles = self._run()

    # What engines use.

    def at(self, cycle: int, action: Callable[[int], None]) -> None:
        """Calls `action` with the cycle when it comes."""
        self._sequence += 1
        heapq.heappush(self._events, (cycle, self._sequence, action))

    def busy(self) -> dict[Engine, int]:
        """Cycles in which each engine moved data."""
        return {
            Engine.FETCH: self.fetch.requested, Engine.LOAD: self.load.words, Engine.MATMUL: self.matmul.beats,
            Engine.VECTOR: self.vector.busy, Engine.STORE: self.store.words,
        }  # fmt: skip

    def base(self, region: int) -> int:
        return self._bases[Region(region)]

    def contended(self, now: int) -> bool:
        """Whether anyone but FETCH uses the memory."""
        load, store = self.load, self.store
        active = load.ready is None or store.ready is None or load.active_until > now or store.active_until > now
        return active or self._reading

    def retire(self, engine: Engine, cycle: int) -> None:
        """The oldest instruction of `engine` retires in `cycle`, which may be in the future."""
        self.retired[engine].append(cycle)
        for other in Engine:
            self.poke(other)

    def poke(self, engine: Engine) -> None:
        """Plans the issue of the engine's next instruction if it is known when."""
        ready = self._engines[engine].ready
        number = self._issued[engine]
        if self._planned[engine] or ready is None or number >= len(self._arrived[engine]):
            return
        arrived, instruction = self._arrived[engine][number]
        when = max(ready, max(arrived, self._fired[engine]) + self._head + 1)
        for other, count in instruction.waits.items():
            number = self._base[other] + count
            if len(self.retired[other]) < number:
                return
            if count:
                when = max(when, self.retired[other][number - 1] + Sequencer.latency)
        self._planned[engine] = True
        self.at(when, lambda now: self._issue(now, engine, instruction))

    def _issue(self, now: int, engine: Engine, instruction: Instruction) -> None:
        self._planned[engine] = False
        self._issued[engine] += 1
        self._fired[engine] = now
        begin = now + (handed(self.config) if engine in (Engine.MATMUL, Engine.VECTOR) else 0)
        self.started[engine].append(begin + (engine is Engine.VECTOR))
        unit = self._engines[engine]
        unit.start(begin, instruction if engine is Engine.VECTOR else instruction.operands)
        self.poke(engine)
        if self._read_waits is not None:
            self._read_waits = None
            self.at(now + 3, self._plan)

    # The program reader.

    def _plan(self, now: int) -> None:
        room = self.config.queue_depth - self._burst
        levels = (len(a) - i - 1 for a, i in zip(self._arrived, self._issued, strict=True))
        if max(levels) > room:
            self._read_waits = now
            return
        first = self._program // INSTRUCTION_BYTES + self._index
        count = min(len(self._code) - self._index, self._burst - first % self._burst)
        if not count:
            raise ValueError("the program has no HALT")
        self._reading = True
        self.at(now + ACCEPTED, lambda now: self._read(now, count))

    def _read(self, now: int, count: int) -> None:
        size = self.config.word_bytes
        beats = INSTRUCTION_BYTES // size
        when = self.bus.accepts(now, self.config.burst_beats)
        if when > now:
            self.at(when, lambda now: self._read(now, count))
            return
        address = self._program + self._index * INSTRUCTION_BYTES
        first = self.bus.read(address, count * beats, now)
        for k in range(count):
            word = first + ((k + 1) * beats - 1) * 100 // self.bus.model.rate
            instruction = self._code[self._index]
            engine = engine_of(instruction.op)
            if engine is None:
                self._stopped = word + 2
                break
            self._index += 1
            self._arrived[engine].append((word + 1, instruction))
        last = first + (count * beats - 1) * 100 // self.bus.model.rate
        self.at(last, self._received)

    def _received(self, now: int) -> None:
        self._reading = False
        for engine in Engine:
            self.poke(engine)
        if self._stopped is None:
            self.at(now + 2, self._plan)

    def _run(self) -> int:
        while True:
            while self._events:
                self.now, _, action = heapq.heappop(self._events)
                action(self.now)
            drained = max((cycles[-1] + 1 for cycles in self.retired if cycles), default=0)
            if self._stopped is None or [len(a) for a in self._arrived] != [len(r) for r in self.retired]:
                raise ValueError("the program never ends: something waits for what never comes")
            end = max(self._stopped, drained)
            if self._code[self._index].op is Op.HALT:
                return end + 1
            self._base = list(self._issued)
            self._index += 1
            self._stopped = None
            self.at(end + 1, self._plan)

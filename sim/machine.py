"""The machine model: what a program means, instruction by instruction."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from hw.spec.config import Config
from hw.spec.isa import INSTRUCTION_BYTES, Engine, Fault, Instruction, Op, Region, decode, engine_of
from hw.spec.vector import opcodes
from sim.hazards import Hazard, HazardTracker
from sim.instructions import SEQUENCER, Instructions, MachineFault, engine_number

__all__ = ["SEQUENCER", "Machine", "MachineFault"]

Array = NDArray[Any]
_BEGUN = {Engine.FETCH: 1, Engine.MATMUL: 2}  # most instructions that have begun and wait; others wait for nothing


class Machine(Instructions):
    """Executes programs on a scratchpad, a weight stream, row-maximum and statistics RAMs, and memory regions.

    Of the instructions whose thresholds (and, for MATMUL, stream words) are there, the one earliest in the program
    executes next, whole; a program without hazards has the same result in every order the hardware may choose.
    An instruction reads everything before it writes; a faulting one writes nothing, though hardware may have
    written a part. Memories keep their contents from one `run` to the next, as the hardware's do; the weight stream is
    empty at the start of each. ``scratch`` is bytes [words, word], ``row_max`` int8 [banks, tokens], ``mean`` and
    ``factor`` the statistics, all of the first slice; ``slices`` has those of each.

    Where nothing can go on, the fault is DEADLOCK, at the first instruction of the program that has not retired. The
    hardware's is the same one: that state does not depend on the order in which it is reached. It does on how far the
    program is read: while every engine has fewer than ``queue_depth`` - ``program_burst`` + 1 waiting behind its first.

    Parameters
    ----------
    config : Config
    regions : mapping from Region to np.uint8 array or bytearray
        Contents, whole words; STORE changes them in place. An absent region has size zero.
    check : bool
        Collect in ``hazards`` every pair of accesses that the program's thresholds do not order.
    """

    def __init__(self, config: Config, regions: Mapping[Region, Array | bytearray], *, check: bool = False):
        super().__init__(config, regions, check=check)
        sizes = {region.name: len(words) for region, words in self.regions.items()}
        sizes |= {
            "scratch": config.slices * config.scratch_bytes,
            "row_max": config.row_max_banks,
            "stats": config.stat_banks,
        }
        self._tracker = HazardTracker(sizes) if check else None
        self._opcodes = frozenset(opcodes(config.vector))

    @property
    def hazards(self) -> list[Hazard]:
        return self._tracker.found if self._tracker else []

    def run(self, program: bytes, base: int = 0) -> None:
        """Executes `program`, which lies at byte address `base`, up to its HALT. Raises MachineFault."""
        self.stream.clear()
        pending: list[tuple[int, Instruction]] = []
        for index in range(len(program) // INSTRUCTION_BYTES):
            instruction = self._decode(program[index * INSTRUCTION_BYTES : (index + 1) * INSTRUCTION_BYTES])
            if instruction is None:
                self._drain(pending, base)
                raise MachineFault(Fault.ILLEGAL_OPCODE, SEQUENCER, index)
            if engine_of(instruction.op) is not None:
                pending.append((index, instruction))
                continue
            self._drain(pending, base)
            pending = []
            if instruction.op == Op.HALT:
                return
        self._drain(pending, base)
        raise MachineFault(Fault.PROGRAM_END, SEQUENCER, len(program) // INSTRUCTION_BYTES)

    def _decode(self, code: bytes) -> Instruction | None:
        """None for an opcode that the machine does not have."""
        try:
            instruction = decode(code)
        except ValueError:
            return None
        return instruction if instruction.op in self._opcodes else None

    def _drain(self, pending: list[tuple[int, Instruction]], base: int) -> None:
        """Executes everything between two barriers. What can go on does so in any order to the same end."""
        self._queues: dict[Engine, deque[tuple[int, Instruction]]] = {engine: deque() for engine in Engine}
        self._begun = dict.fromkeys(Engine, 0)  # instructions at a queue's front
        self._retired = dict.fromkeys(Engine, 0)
        self.stream = deque((words, -1) for words, _ in self.stream)
        if self._tracker:
            self._tracker.barrier()
        waiting = deque(pending)
        while True:
            self._read_program(waiting, base)
            heads = sorted(queue[0][0] for queue in self._queues.values() if queue)
            if not heads:
                return
            if not self._step():
                raise MachineFault(Fault.DEADLOCK, SEQUENCER, heads[0])

    def _read_program(self, waiting: deque[tuple[int, Instruction]], base: int) -> None:
        """Bursts, which end at multiples of their size, while every queue has room for one behind its head."""
        burst = self.config.program_burst
        while waiting and all(
            len(queue) - self._begun[engine] - 1 <= self.config.queue_depth - burst
            for engine, queue in self._queues.items()
        ):
            for _ in range(burst - (base // INSTRUCTION_BYTES + waiting[0][0]) % burst):
                if waiting:
                    self._queues[engine_number(waiting[0][1])].append(waiting.popleft())

    def _step(self) -> bool:
        """The one earliest in the program that can begins, or retires; False if none can.

        FETCH and MATMUL begin when their thresholds are met, and retire later: a FETCH when the stream has room for
        all its words, a MATMUL when its words are there. Behind a MATMUL that waits for words one more begins.
        """
        stages = [
            (*queue[place], place < self._begun[engine])
            for engine, queue in self._queues.items()
            for place in {0, self._begun[engine]}
            if place < min(len(queue), _BEGUN.get(engine, 1))
        ]
        for index, instruction, begun in sorted(stages, key=lambda stage: stage[0]):
            engine = engine_number(instruction)
            if begun:
                if engine is Engine.FETCH and self._stream_room():
                    self._retire(engine)
                    return True
                if engine is Engine.MATMUL and self.begin(index, instruction):
                    self._execute(index, instruction)
                    self._retire(engine)
                    return True
            elif all(self._retired[other] >= count for other, count in instruction.waits.items()):
                self.begin(index, instruction)
                self._begun[engine] += 1
                if engine is not Engine.MATMUL:
                    self._execute(index, instruction)
                if engine not in _BEGUN:
                    self._retire(engine)
                return True
        return False

    def _retire(self, engine: Engine) -> None:
        self._queues[engine].popleft()
        self._begun[engine] -= 1
        self._retired[engine] += 1

    def _stream_room(self) -> bool:
        """Whether the weight stream holds what the MATMUL at its end leaves in it."""
        words = self.stream_words
        if self._begun[Engine.MATMUL]:
            words -= self.needs(self._queues[Engine.MATMUL][0][1].operands)
        return words <= self.config.stream_words + self.config.ahead_words

    def _execute(self, index: int, instruction: Instruction) -> None:
        self.execute(instruction, self._retired[engine_number(instruction)])
        if self._tracker:
            assert self.accesses is not None
            fetches, fetched = self.fetches
            self._tracker.record(
                index, engine_number(instruction), instruction.waits, self.accesses,
                fetches=fetches, fetched=fetched,
            )  # fmt: skip

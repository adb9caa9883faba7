"""The machine model: what a program means, instruction by instruction."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from hw.spec.config import Config
from hw.spec.isa import INSTRUCTION_BYTES, Engine, Fault, Instruction, Op, Region, decode, engine_of
from sim.hazards import Hazard, HazardTracker
from sim.instructions import SEQUENCER, Instructions, MachineFault, engine_number

__all__ = ["SEQUENCER", "Machine", "MachineFault"]

Array = NDArray[Any]


class Machine(Instructions):
    """Executes programs on a scratchpad, a weight stream, row-maximum and statistics RAMs, and memory regions.

    Of the instructions whose thresholds (and, for MATMUL, stream words) are there, the one earliest in the program
    executes next, whole; a program without hazards has the same result in every order the hardware may choose.
    An instruction reads everything before it writes; a faulting one writes nothing, though hardware may have
    written a part. All state persists from one `run` to the next, as the hardware's does.

    Parameters
    ----------
    config : Config
    regions : mapping from Region to np.uint8 array or bytearray
        Contents, whole words; STORE changes them in place. An absent region has size zero.
    check : bool
        Collect in ``hazards`` every pair of accesses that the program's thresholds do not order.

    ``scratch`` is bytes [words, word], ``row_max`` int8 [banks, tokens], ``mean`` and ``factor`` the statistics.
    """

    def __init__(self, config: Config, regions: Mapping[Region, Array | bytearray], *, check: bool = False):
        super().__init__(config, regions, check=check)
        sizes = {region.name: len(words) for region, words in self.regions.items()}
        sizes |= {"scratch": config.scratch_bytes, "row_max": config.row_max_banks, "stats": config.stat_banks}
        self._tracker = HazardTracker(sizes) if check else None

    @property
    def hazards(self) -> list[Hazard]:
        return self._tracker.found if self._tracker else []

    def run(self, program: bytes) -> None:
        """Executes `program` up to its HALT. Raises MachineFault."""
        pending: list[tuple[int, Instruction]] = []
        for index in range(len(program) // INSTRUCTION_BYTES):
            try:
                instruction = decode(program[index * INSTRUCTION_BYTES : (index + 1) * INSTRUCTION_BYTES])
            except ValueError:
                self._drain(pending)
                raise MachineFault(Fault.ILLEGAL_OPCODE, SEQUENCER, index) from None
            if engine_of(instruction.op) is not None:
                pending.append((index, instruction))
                continue
            self._drain(pending)
            pending = []
            if instruction.op == Op.HALT:
                return
        self._drain(pending)
        raise MachineFault(Fault.PROGRAM_END, SEQUENCER, len(program) // INSTRUCTION_BYTES)

    def _drain(self, pending: list[tuple[int, Instruction]]) -> None:
        """Executes everything between two barriers, through queues as deep as the hardware's."""
        queues: dict[Engine, deque[tuple[int, Instruction]]] = {engine: deque() for engine in Engine}
        retired = dict.fromkeys(Engine, 0)
        self.stream = deque((words, -1) for words, _ in self.stream)
        if self._tracker:
            self._tracker.barrier()
        waiting = deque(pending)
        while waiting or any(queues.values()):
            while waiting and len(queues[engine_number(waiting[0][1])]) < self.config.queue_depth:
                queues[engine_number(waiting[0][1])].append(waiting.popleft())
            heads = sorted((queue[0] for queue in queues.values() if queue), key=lambda head: head[0])
            for index, instruction in heads:
                if self._ready(index, instruction, retired):
                    engine = engine_number(instruction)
                    self._execute(index, instruction, retired[engine])
                    queues[engine].popleft()
                    retired[engine] += 1
                    break
            else:
                raise MachineFault(Fault.DEADLOCK, SEQUENCER, heads[0][0])

    def _ready(self, index: int, instruction: Instruction, retired: Mapping[Engine, int]) -> bool:
        if any(retired[engine] < count for engine, count in instruction.waits.items()):
            return False
        return self.begin(index, instruction)

    def _execute(self, index: int, instruction: Instruction, ordinal: int) -> None:
        self.execute(instruction, ordinal)
        if self._tracker:
            assert self.accesses is not None
            fetches, fetched = self.fetches
            self._tracker.record(
                index, engine_number(instruction), instruction.waits, self.accesses,
                fetches=fetches, fetched=fetched, in_place=_in_place(instruction),
            )  # fmt: skip


def _in_place(instruction: Instruction) -> bool:
    """Every element is written where it, and nothing later, was read. SHIFTMAX_SUM reads means and writes factors."""
    o = instruction.operands
    if instruction.op == Op.SHIFTMAX_SUM:
        return True
    if engine_of(instruction.op) != Engine.VECTOR or "dest" not in o:
        return False
    return any(
        (o["dest"], o["dest_row"], o.get("wide_dest", 0)) == (o[name], o[f"{name}_row"], o.get(f"wide_{name}", 0))
        for name in ("source", "identity")
        if name in o
    )

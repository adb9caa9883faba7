"""What instructions cost, as the scheduler sees it: (cycles the engine is taken, further cycles until retirement).

The rates follow from the units and the memory; the constants were measured on the compiled RTL with its DRAM model.
They order instructions; `sim.cycles` predicts.
"""

from __future__ import annotations

from collections.abc import Mapping

from hw.boards.memory import PAGE_BYTES, Memory
from hw.spec.config import Config
from hw.spec.isa import TOGETHER, Kind
from hw.spec.memory import param_words, tiles
from hw.spec.vector import VectorOp

__all__ = ["ISSUE", "matmul_cost", "stream_cost", "transfer_cost", "vector_cost"]

ISSUE = 5  # from a retirement to the start that waits for it
_FIRST_TILE = 59  # from a FETCH's start to the first tile in the array, besides the memory's latency
_INTERRUPTED = 0.341  # turnarounds per page of a stream, for the LOADs and STOREs between: a sixth in all on the Arty


def stream_cost(words: int, config: Config, memory: Memory) -> tuple[int, int]:
    """FETCH of `words` words; not until it retires, but until its first tile is in the array."""
    return 12 + memory.latency + _streamed(words, config, memory), _FIRST_TILE + memory.latency


def _streamed(words: int, config: Config, memory: Memory) -> int:
    """A sixth more than the words on the Arty's memory."""
    turns = _INTERRUPTED * memory.turnaround * config.word_bytes / PAGE_BYTES
    return int(words * (memory.word_cycles(config.word_bytes) + turns))


def transfer_cost(words: int, run: int, memory: Memory) -> tuple[int, int]:
    """LOAD or STORE of `words` words in runs of `run`, while FETCH uses the memory too: half of it is left, or less."""
    return 19 + memory.latency + words * (2 if run > 8 else 4) * 100 // memory.rate, 12


def matmul_cost(operands: Mapping[str, int], config: Config, memory: Memory) -> tuple[int, int]:
    """The array's beats, or the drain's outputs, or the stream's words, whichever is longest; then the last drain."""
    rows, passes = operands["rows"], operands["passes"]
    count = tiles(operands["outputs"], config)
    beats = count * passes * max(rows * (1 + operands.get("two_planes", 0)), config.cols)
    items = config.cols // config.drain_lanes
    drained = rows * items * (2 if operands["kind"] == Kind.PLANES else 1)
    if operands.get("transpose"):  # more than the gatherer takes; without it plans are 0.5 % shorter or longer
        drained += -(-rows // TOGETHER) * (config.cols - items)
    words = count * config.cols * (passes + (param_words(config) if operands.get("per_channel") else 0))
    return max(beats, count * drained, _streamed(words, config, memory)), 48 + drained - rows


def vector_cost(row: VectorOp, operands: Mapping[str, int], config: Config) -> tuple[int, int]:
    """Elements through the lanes, or the slowest per-row unit."""
    per_row = max(-(-operands["length"] // config.lanes), row.row_cycles)
    return operands["rows"] * per_row + row.overhead, 0

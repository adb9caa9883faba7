"""What instructions cost, as the scheduler sees it: (cycles the engine is taken, further cycles until retirement).

The rates follow from the units; the constants were measured on the compiled RTL with its DRAM model. They order
instructions; `sim.cycles` predicts.
"""

from __future__ import annotations

from collections.abc import Mapping

from hw.spec.config import Config
from hw.spec.isa import Op
from hw.spec.memory import param_words, tiles

__all__ = ["ISSUE", "STREAM_LATENCY", "matmul_cost", "stream_cost", "transfer_cost", "vector_cost"]

ISSUE = 5  # from a retirement to the start that waits for it
STREAM_LATENCY = 80  # from a FETCH's start to the first tile in the array
_ROOT = 124  # cycles per row of I-LayerNorm's root and reciprocal
_SUM = 18  # cycles per row of Shiftmax's reciprocal
_GELU_ROW = 36  # cycles per row of ShiftGELU's row constant
_OVERHEAD = {
    Op.SHIFTMAX_SUM: 33, Op.SHIFTMAX: 21, Op.MOMENTS: 170, Op.LAYER_NORM: 49, Op.SHIFT_GELU: 93, Op.ADD: 29,
    Op.ADD_MAX: 29,
}  # fmt: skip


def stream_cost(words: int) -> int:
    """FETCH: refresh and page changes cost a sixth."""
    return 33 + words + words // 6


def transfer_cost(words: int, run: int) -> tuple[int, int]:
    """LOAD or STORE of `words` words in runs of `run`, while FETCH uses the memory too."""
    return 40 + words * (2 if run > 8 else 4), 12


def matmul_cost(operands: Mapping[str, int], config: Config) -> tuple[int, int]:
    """The array's beats, or the drain's outputs, or the stream's words, whichever is longest; then the last drain."""
    rows, passes = operands["rows"], operands["passes"]
    count = tiles(operands["outputs"], config)
    beats = count * passes * max(rows * (1 + operands.get("two_planes", 0)), config.cols)
    per_token = config.cols if operands.get("transpose") else config.cols // config.drain_lanes
    words = count * config.cols * (passes + (param_words(config) if operands.get("per_channel") else 0))
    return max(beats, count * rows * per_token, words + words // 6), 48 + rows * (per_token - 1)


def vector_cost(op: Op, operands: Mapping[str, int], config: Config) -> tuple[int, int]:
    """Elements through the lanes, or the slowest per-row unit."""
    rows, length = operands["rows"], operands["length"]
    beats = -(-length // config.lanes)
    per_row = {
        Op.SHIFTMAX_SUM: max(beats, _SUM),
        Op.SHIFTMAX: beats,
        Op.MOMENTS: max(beats, _ROOT),
        Op.LAYER_NORM: beats,
        Op.SHIFT_GELU: max(length, _GELU_ROW),
        Op.ADD: length,
        Op.ADD_MAX: length,
    }[op]
    return rows * per_row + _OVERHEAD[op], 0

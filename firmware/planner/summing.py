"""Sums over tokens by the array: a row of ones times the tokens, which wait in WORK, transposed, as a weight matrix.

Accumulators are int32, so any number of tokens that a MATMUL can reduce is summed exactly.
"""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from firmware.planner.allocator import Buffer
from firmware.planner.image import ModelImage
from firmware.planner.key_values import Transposed
from firmware.planner.limits import check_summed
from firmware.planner.program import CompileError
from firmware.planner.scheduler import Task
from firmware.planner.steps import Steps, Worker
from hw.spec.config import Config
from hw.spec.isa import Region
from hw.spec.memory import align, pack_stream
from hw.spec.model import Node

__all__ = ["load_ones", "store_transposed", "summing_constants"]

_IDENTITY, _ONES = "summing identity", "summing ones"


def summing_constants(image: ModelImage, tokens: int, config: Config, first: int = 0) -> None:
    """What the array needs of MODEL to sum up `tokens` tokens, but for those before number `first`.

    Raises CompileError for more than a MATMUL can reduce, and for words of more bytes than it can have rows.
    """
    check_summed(tokens, config)
    if config.tokens < config.rows:
        raise CompileError(
            f"the mean of {tokens} tokens wants tokens to be at least rows ({config.rows}), not {config.tokens}"
        )
    image.add(_IDENTITY, pack_stream(np.eye(config.rows, dtype=np.int8), config))
    image.add(_ONES, (np.arange(tokens) >= first).astype(np.uint8))


def store_transposed(worker: Worker, node: Node, normal: Buffer, first: int, tokens: int, waiting: Transposed) -> Steps:
    """int8 rows of `tokens` tokens from number `first` on, the first of a word, into `waiting`; `normal` is freed."""
    rows = align(waiting.channels, worker.config.cols)
    channels = worker.arena.allocate("channels", rows, worker.span(tokens))
    for word in range(waiting.channels // worker.word):
        into = channels.part(word * worker.word, worker.word)
        yield worker.tasks.transpose(node, normal.column(word), worker.each(tokens), into, _IDENTITY)
    yield from worker.store_channels(node, waiting, channels, channels, first, tokens)
    worker.arena.free(normal, channels)


def load_ones(worker: Worker, node: Node, tokens: int) -> Generator[Task, None, Buffer]:
    """The row that sums up `tokens` tokens."""
    ones = worker.arena.allocate("ones", 1, align(tokens, worker.word) // worker.word)
    yield worker.tasks.load(node, Region.MODEL, worker.blobs[_ONES].offset, ones, 1, ())
    return ones

"""Sums of int16 tokens by the array: their bytes, transposed, as activations of two planes, times a column of ones.

A row of int16 channels is its bytes, low ones before high ones. Transposed they are rows of tokens, two of each
channel, here its high bytes before its low ones: what a MATMUL takes as one row of 16-bit activations. So its channels
are the MATMUL's tokens and its tokens the inputs that are reduced. Sums are int32: exact for any number of tokens that
the graph may have.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from firmware.planner.allocator import Buffer
from firmware.planner.dependencies import Access
from firmware.planner.image import ModelImage
from firmware.planner.limits import check_summed
from firmware.planner.scheduler import Stream
from firmware.planner.steps import Steps, Worker, parts
from firmware.planner.transfer import Pattern
from hw.spec.config import Config
from hw.spec.isa import Region
from hw.spec.memory import align, pack_stream
from hw.spec.model import Node

__all__ = ["TokenBytes", "store_bytes", "sum_up", "swapping_constants", "wide_summing_constants"]

_SWAPPED, _ONES = "summing bytes", "summing column"


@dataclass(frozen=True, kw_only=True)
class TokenBytes:
    """int16 [tokens, channels] as [channel][high, low][token] bytes, rows of whole words, from word `start` of WORK."""

    config: Config
    start: int
    tokens: int
    channels: int

    @property
    def row(self) -> int:
        """Words of a row of bytes."""
        return align(self.tokens, self.config.word_bytes) // self.config.word_bytes

    @property
    def words(self) -> int:
        """Words of all of it."""
        return 2 * self.channels * self.row

    def store(self, rows: Buffer, line: int, first: int, tokens: int, *, ends: bool = True) -> Pattern:
        """`rows` of bytes, the first one's number `line`, of `tokens` tokens from number `first` on.

        The tokens begin within a word as they do in memory. The last word is written whole if it `ends` there.
        """
        word = self.config.word_bytes
        skip, stop = first % word, first + tokens
        drop = 0 if ends else -stop % word
        words, lines = -(-stop // word) - first // word, rows.words // rows.row
        offset = self.start + line * self.row + first // word
        if not skip and not drop:
            return Pattern(
                offset=offset, scratch=rows.start, run=(words, 1), first=(lines, self.row, rows.row)
            )  # fmt: skip
        return Pattern(
            offset=offset, scratch=rows.start, run=(1, 1), first=(words, 1, 1), second=(lines, self.row, rows.row),
            skip=skip, drop=drop,
        )  # fmt: skip

    def part(self, first: int, channels: int) -> Access:
        """The words of some channels."""
        start = self.start + 2 * first * self.row
        return Access("work", start, start + 2 * channels * self.row)


def swapping_constants(image: ModelImage, config: Config) -> None:
    """What the array needs of MODEL to transpose int16 tokens."""
    swapped = np.eye(config.rows, dtype=np.int8)[np.arange(config.rows) ^ 1]
    image.add(_SWAPPED, pack_stream(swapped, config))


def wide_summing_constants(image: ModelImage, tokens: int, config: Config, first: int) -> None:
    """What the array needs of MODEL to sum up `tokens` int16 tokens, but for those before number `first`.

    Raises CompileError for more than a MATMUL can reduce.
    """
    check_summed(tokens, config)
    swapping_constants(image, config)
    image.add(_ONES, pack_stream((np.arange(tokens) >= first).astype(np.int8)[None], config))


def store_bytes(worker: Worker, node: Node, tokens: Buffer, count: int, first: int, waiting: TokenBytes) -> Steps:
    """int16 rows of `count` tokens from number `first` on, the first of a word, into `waiting`, as room allows."""
    span, shares = worker.span(count), worker.spread(count)
    for word, words in parts(tokens.row, worker.arena.room // (worker.word * span), 1):
        rows = worker.arena.allocate("bytes", words * worker.word, span)
        for each in range(words):
            into = rows.part(each * worker.word, worker.word)
            yield worker.tasks.transpose(node, tokens.column(word + each), worker.each(count), into, _SWAPPED)
        for part in shares:
            at, ends = first + part.first, part is shares[-1]
            pattern = waiting.store(rows, word * worker.word, at, part.tokens, ends=ends)
            yield worker.tasks.scatter(node, rows, pattern, part.slice)
        worker.arena.free(rows)


def sum_up(
    worker: Worker, node: Node, quant: Node | None, waiting: TokenBytes, into: Buffer, ones: Stream | None = None
) -> Steps:
    """`into` = the sums of all channels, as many at a time as there is room for.

    They are requantized to int16 by `quant`, or int32; `ones` are the column of `wide_summing_constants` or another.
    Room for two, at either end: one is loaded while the array reads the other.
    """
    most = min(worker.config.tokens, worker.arena.room // (4 * waiting.row))  # rows of a MATMUL at most
    if ones is None:
        blob = worker.blobs[_ONES]
        ones = Stream(Region.MODEL, blob.offset, blob.words)
    for number, (first, channels) in enumerate(parts(waiting.channels, most, 1)):
        rows = worker.arena.allocate("bytes", 2 * channels, waiting.row, high=number % 2 == 1)
        at = waiting.part(first, channels)
        yield worker.tasks.load(node, Region.WORK, at.start, rows, 2 * channels, (at,))
        yield worker.tasks.column_sums(node, quant, rows, channels, into, first, ones)
        worker.arena.free(rows)

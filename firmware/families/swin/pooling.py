"""The mean of all tokens, RNE(sum / n), exact for every n.

Up to 256 tokens their sum fits int16 and is made by additions, halves added to halves. More, and those of several
slices, are summed by the array, whose accumulators are int32: a row of ones times the tokens, which wait in WORK as a
weight matrix.

One dyadic factor divides exactly where n is odd or a power of two. Elsewhere there are ties, which a factor a little
above 1/n rounds away from zero, and one a little below towards it. Both quotients are the same but for ties, where one
of them is even: that one is their mean, rounded to even.
"""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from firmware.families.swin.grid import Area, Grid, cut
from firmware.families.swin.pattern import Stage
from firmware.families.swin.worker import GridWorker
from firmware.planner.allocator import Buffer
from firmware.planner.image import ModelImage
from firmware.planner.key_values import Transposed
from firmware.planner.program import CompileError
from firmware.planner.scheduler import Task
from firmware.planner.steps import Slot, Steps, parts
from firmware.planner.summing import load_ones, store_transposed, summing_constants
from firmware.planner.tasks import Tasks
from hw.spec import arith
from hw.spec.config import Config
from hw.spec.model import Node

__all__ = ["MOST_ADDED", "Pooling", "is_added", "pooling_constants", "quotients"]

MOST_ADDED = 256
"""Tokens whose sum of int8 numbers fits int16."""

_ONE = {"mult": 1, "shift": 0}
_ADDED = {**_ONE, "mult_identity": 1, "shift_identity": 0}
_HALF = {"mult": 1, "shift": 1}

Factor = dict[str, int]  # mult, shift


def quotients(count: int) -> list[Factor]:
    """One factor that divides every sum of `count` int8 numbers as RNE(sum / count) does, or two, as said above.

    Proven for every sum there can be. Raises CompileError if neither is exact.
    """
    shift = 30 + count.bit_length() - 1
    above, below = -(-(1 << shift) // count), (1 << shift) // count
    sums = np.arange(-128 * count, 127 * count + 1)
    expected, first = arith.divide_round(sums, count), arith.rounded(sums, above, shift)
    if np.array_equal(first, expected):
        return [{"mult": above, "shift": shift}]
    both = first + arith.rounded(sums, below, shift)
    if np.array_equal(arith.rounded(both, **_HALF), expected):
        return [{"mult": above, "shift": shift}, {"mult": below, "shift": shift}]
    raise CompileError(f"the mean of {count} tokens cannot be taken exactly")


def is_added(tokens: int, config: Config) -> bool:
    """Whether tokens are summed up by additions: few ones, in one scratchpad."""
    return tokens <= MOST_ADDED and config.slices == 1


def pooling_constants(image: ModelImage, tokens: int, config: Config) -> None:
    """What the array needs of MODEL to sum up more tokens than additions can.

    Raises CompileError for more than a MATMUL can reduce, and for words of more bytes than it can have rows.
    """
    if is_added(tokens, config):
        return
    summing_constants(image, tokens, config)


class Pooling(GridWorker):
    """Norm and mean of all tokens of `stage`, the last; `waiting` is a place for more than can be added."""

    def __init__(
        self, tasks: Tasks, slot: Slot, stage: Stage, norm: Node, mean: Node, before: Grid, waiting: Transposed | None
    ) -> None:
        super().__init__(tasks, slot)
        self.stage, self.last_norm, self.mean, self.before, self.waiting = stage, norm, mean, before, waiting
        self.factors = quotients(stage.tokens)

    def pool(self) -> Generator[Task, None, Buffer]:
        """The mean, int8 [1, dim]."""
        if self.waiting is None:
            return (yield from self._by_adding())
        return (yield from self._by_the_array(self.waiting))

    @property
    def _most(self) -> int:
        """Tokens that there is room for: normalised and being summed, or normalised and not yet."""
        row = self.stage.dim // self.word
        most = min(self.config.tokens, (self.arena.room - self.blobs[self.last_norm.name].words) // (3 * row))
        return self.config.slices * most

    def _norm(self, grid: Grid, area: Area) -> Generator[Task, None, Buffer]:
        return self.norm(self.last_norm, [[area]], self.stage.dim, self.from_grid(self.last_norm, grid))

    # Additions

    def _by_adding(self) -> Generator[Task, None, Buffer]:
        dim, stage = self.stage.dim, self.stage
        total = self.rows("total", 1, dim, wide=1, high=True)
        for number, piece in enumerate(cut(Area(0, 0, stage.height, stage.width), self._most)):
            normal = yield from self._norm(self.before, piece)
            yield from self._sum_up(normal, piece.tokens, total, first=number == 0)
            self.arena.free(normal)
        pooled, (factor, *second) = self.rows("pooled", 1, dim), self.factors
        if second:
            factors = {**factor, **{f"{name}_identity": value for name, value in second[0].items()}}
            yield self.tasks.add(self.mean, total, total, total, 1, dim, factors=factors)
            factor = _HALF
        yield self.tasks.requantize(self.mean, total, pooled, 1, dim, wide=(1, 0), factors=factor)
        self.arena.free(total)
        return pooled

    def _sum_up(self, x: Buffer, count: int, total: Buffer, *, first: bool) -> Steps:
        """total (+)= the sum of `count` int8 rows, halves added to halves."""
        node, dim = self.mean, self.stage.dim
        half = count // 2
        sums = self.rows("sums", max(1, half), dim, wide=1)

        def add(to: int, x: Buffer, rows: int, *, wide: int = 1) -> Steps:
            into = sums.part(to, rows)
            yield self.tasks.add(node, into, x, into, rows, dim, wide=(1, wide, 1), factors=_ADDED)

        if half:
            yield self.tasks.add(
                node, x.part(0, half), x.part(half, half), sums, half, dim, wide=(0, 0, 1), factors=_ADDED
            )
            if count % 2:
                yield from add(0, x.part(count - 1, 1), 1, wide=0)
        else:
            yield self.tasks.requantize(node, x, sums, 1, dim, wide=(0, 1), factors=_ONE)
        while half > 1:
            yield from add(0, sums.part(half - half // 2, half // 2), half // 2)
            half -= half // 2
        if first:
            yield self.tasks.requantize(node, sums, total, 1, dim, wide=(1, 1), factors=_ONE)
        else:
            yield self.tasks.add(node, total, sums, total, 1, dim, factors=_ADDED)
        self.arena.free(sums)

    # The array

    def _by_the_array(self, waiting: Transposed) -> Generator[Task, None, Buffer]:
        dim, count = self.stage.dim, self.stage.tokens
        line = self.before.line(count)
        for first, tokens in parts(count, self._most, self.word):
            normal = yield from self._norm(line, Area(0, first, 1, tokens))
            yield from store_transposed(self, self.mean, normal, first, tokens, waiting)
        ones = yield from load_ones(self, self.mean, count)
        found = []
        for factor in self.factors:
            found.append(self.rows("quotient", 1, dim))
            yield self.tasks.context(
                self.mean, self.mean, ones, 0, 1, dim, found[-1], stream=waiting.stream, factors=factor
            )
        self.arena.free(ones)
        pooled = found[0]
        if len(found) == 2:
            both = self.rows("both", 1, dim, wide=1)
            yield self.tasks.add(self.mean, found[0], found[1], both, 1, dim, wide=(0, 0, 1), factors=_ADDED)
            yield self.tasks.requantize(self.mean, both, pooled, 1, dim, wide=(1, 0), factors=_HALF)
            self.arena.free(found[1], both)
        return pooled

"""The items around the blocks: patch embedding, merging between stages, and the head."""

from __future__ import annotations

from math import lcm

import numpy as np

from firmware.families.swin.grid import Area, Grid, cut
from firmware.families.swin.pattern import Stage, SwinTransformer
from firmware.families.swin.worker import GridWorker
from firmware.planner.allocator import Buffer
from firmware.planner.program import CompileError
from firmware.planner.steps import Slot, Steps, parts
from firmware.planner.tasks import Tasks
from hw.spec import arith
from hw.spec.isa import Kind, Region
from hw.spec.memory import align
from hw.spec.model import Model, Node

__all__ = ["EndSteps", "divisor"]

_ONE = {"mult": 1, "shift": 0, "mult_identity": 1, "shift_identity": 0}
_MOST_TOKENS = 255  # whose sum of int8 numbers fits int16


def divisor(node: Node, count: int) -> dict[str, int]:
    """The dyadic factor that divides every sum of `count` int8 numbers exactly as RNE(sum / count) does.

    Raises CompileError where there is none, as for even numbers of tokens that are not powers of two.
    """
    shift = 30 + count.bit_length() - 1
    mult = -(-(1 << shift) // count)
    sums = np.arange(-128 * count, 127 * count + 1)
    if count > _MOST_TOKENS or np.any(arith.rounded(sums, mult, shift) != arith.divide_round(sums, count)):
        raise CompileError(
            f"{node.name} takes the mean of {count} tokens; it must be an odd number or a power of two, at most "
            f"{_MOST_TOKENS}"
        )
    return {"mult": mult, "shift": shift}


class EndSteps(GridWorker):
    """Everything that belongs to no block, in one slot."""

    def __init__(self, tasks: Tasks, slot: Slot, model: Model, roles: SwinTransformer) -> None:
        super().__init__(tasks, slot)
        self.model, self.roles = model, roles

    def embed(self, image: int, area: Area, after: Grid) -> Steps:
        """Patches to the residual stream of the first stage, of which `area` is a part of the only line."""
        roles, model, tokens = self.roles, self.model, area.tokens
        stage = roles.stages[0]
        row = align(model.image[0] * model.patch**2, self.word) // self.word
        patches = self.arena.allocate("patches", tokens, row)
        offset = (image * stage.tokens + area.x) * row
        yield self.tasks.load(roles.embed, Region.INPUT, offset, patches, tokens, ())
        embedded = self.rows("embedded", tokens, stage.dim, high=True)
        yield self.tasks.linear(roles.embed, patches, tokens, embedded, stage.dim, Kind.INT8)
        self.arena.free(patches)
        params = yield from self.parameters(roles.embed_norm)
        stream = self.rows("tokens", tokens, stage.dim, wide=1, high=True)
        yield from self.normalise(roles.embed_norm, embedded, tokens, stage.dim, stream, params, wide=0, wide_dest=1)
        self.arena.free(embedded, params)
        yield self.tasks.requantize(roles.enter, stream, stream, tokens, stage.dim, wide=(1, 1))
        yield self.tasks.scatter(roles.enter, stream, after.pattern(area, stream.start))
        self.arena.free(stream)

    def merge(self, stage: Stage, before: Grid, after: Grid, area: Area) -> Steps:
        """2 x 2 tokens of `stage` to one of the next stage each; `area` counts those."""
        assert stage.merge is not None
        roles, outputs = stage.merge, 2 * stage.dim

        def load(piece: Area, rows: Buffer) -> Steps:
            for pattern in before.merged(piece, rows.start):
                yield self.tasks.gather(roles.merge, rows, pattern)

        normal = yield from self.norm(roles.norm, area, 4 * stage.dim, load)
        most = self.arena.room // area.tokens * self.word
        for first, count in parts(outputs, most, lcm(self.word, self.config.cols)):
            reduced = self.rows("reduced", area.tokens, count)
            yield self.tasks.linear(roles.reduction, normal, area.tokens, reduced, count, Kind.INT8, first=first)
            pattern = after.pattern(area, reduced.start, first // self.word, reduced.row)
            yield self.tasks.scatter(roles.reduction, reduced, pattern)
            self.arena.free(reduced)
        self.arena.free(normal)

    def head(self, image: int, before: Grid) -> Steps:
        """Norm and mean of all tokens, and the logits."""
        roles, model, stage = self.roles, self.model, self.roles.stages[-1]
        factor = divisor(roles.mean, stage.tokens)
        total = self.rows("total", 1, stage.dim, wide=1, high=True)
        blob, row = self.blobs[roles.norm.name], stage.dim // self.word
        most = (self.arena.room - blob.words) // (3 * row)  # normalised and being summed, or normalised and not yet
        for number, piece in enumerate(cut(Area(0, 0, stage.height, stage.width), most)):
            normal = yield from self.norm(
                roles.norm, piece, stage.dim, lambda part, rows: self.gather(roles.norm, before, part, rows)
            )
            yield from self._sum_up(normal, piece.tokens, total, first=number == 0)
            self.arena.free(normal)
        pooled = self.rows("pooled", 1, stage.dim)
        yield self.tasks.requantize(roles.mean, total, pooled, 1, stage.dim, wide=(1, 0), factors=factor)
        yield self.tasks.requantize(roles.mean_quant, pooled, pooled, 1, stage.dim, wide=(0, 0))
        size = align(4 * model.classes, self.word) // self.word
        logits = self.arena.allocate("logits", 1, size)
        yield self.tasks.linear(roles.head, pooled, 1, logits, model.classes, Kind.INT32)
        yield self.tasks.store(roles.head, Region.OUTPUT, image * size, logits, 1, ())
        self.arena.free(total, pooled, logits)

    def _sum_up(self, x: Buffer, count: int, total: Buffer, *, first: bool) -> Steps:
        """total (+)= the sum of `count` int8 rows, halves added to halves."""
        node, dim = self.roles.mean, self.roles.stages[-1].dim
        half = count // 2
        sums = self.rows("sums", max(1, half), dim, wide=1)

        def add(to: int, x: Buffer, rows: int, *, wide: int = 1) -> Steps:
            into = sums.part(to, rows)
            yield self.tasks.add(node, into, x, into, rows, dim, wide=(1, wide, 1), factors=_ONE)

        if half:
            yield self.tasks.add(
                node, x.part(0, half), x.part(half, half), sums, half, dim, wide=(0, 0, 1), factors=_ONE
            )
            if count % 2:
                yield from add(0, x.part(count - 1, 1), 1, wide=0)
        else:
            yield self.tasks.requantize(node, x, sums, 1, dim, wide=(0, 1), factors={"mult": 1, "shift": 0})
        while half > 1:
            yield from add(0, sums.part(half - half // 2, half // 2), half // 2)
            half -= half // 2
        if first:
            yield self.tasks.requantize(node, sums, total, 1, dim, wide=(1, 1), factors={"mult": 1, "shift": 0})
        else:
            yield self.tasks.add(node, total, sums, total, 1, dim, factors=_ONE)
        self.arena.free(sums)

"""The items around the blocks: patch embedding, merging between stages, and the head."""

from __future__ import annotations

from math import lcm

from firmware.families.swin.grid import Area, Grid
from firmware.families.swin.pattern import Stage, SwinTransformer
from firmware.families.swin.pooling import Pooling
from firmware.families.swin.worker import GridWorker
from firmware.planner.allocator import Buffer
from firmware.planner.steps import Slot, Steps, is_wide, parts
from firmware.planner.tasks import Tasks
from hw.spec.isa import Kind, Region
from hw.spec.memory import align
from hw.spec.model import Model

__all__ = ["EndSteps"]


class EndSteps(GridWorker):
    """Everything that belongs to no block, in one slot."""

    def __init__(self, tasks: Tasks, slot: Slot, model: Model, roles: SwinTransformer) -> None:
        super().__init__(tasks, slot)
        self.model, self.roles = model, roles

    def embed(self, image: int, area: Area, after: Grid) -> Steps:
        """Patches to the residual stream of the first stage, of which `area` is a part of the only line."""
        roles, model, tokens = self.roles, self.model, self.each(area.tokens)
        stage = roles.stages[0]
        row = align(model.image[0] * model.patch**2, self.word) // self.word
        patches = self.arena.allocate("patches", tokens, row)
        offset = (image * stage.tokens + area.x) * row
        yield from self.load_tokens(roles.embed, Region.INPUT, offset, patches, self.spread(area.tokens))
        embedded = self.rows("embedded", tokens, stage.dim, high=True)
        yield self.tasks.linear(roles.embed, patches, tokens, embedded, stage.dim, Kind.INT8)
        self.arena.free(patches)
        params = yield from self.parameters(roles.embed_norm)
        stream = self.rows("tokens", tokens, stage.dim, wide=1, high=True)
        yield from self.normalise(roles.embed_norm, embedded, tokens, stage.dim, stream, params, wide=0, wide_dest=1)
        self.arena.free(embedded, params)
        yield self.tasks.requantize(roles.enter, stream, stream, tokens, stage.dim, wide=(1, 1))
        yield from self.scatter(roles.enter, after, [area], stream)
        self.arena.free(stream)

    def merge(self, stage: Stage, before: Grid, after: Grid, area: Area) -> Steps:
        """2 x 2 tokens of `stage` to one of the next stage each; `area` counts those."""
        assert stage.merge is not None
        roles, outputs, tokens = stage.merge, 2 * stage.dim, self.each(area.tokens)

        def load(piece: Area, rows: Buffer, number: int) -> Steps:
            for pattern in before.merged(piece, rows.start):
                yield self.tasks.gather(roles.merge, rows, pattern, number)

        normal = yield from self.norm(roles.norm, [[area]], 4 * stage.dim, load, planes=is_wide(roles.norm_quant))
        most = self.arena.room // tokens * self.word
        for first, count in parts(outputs, most, lcm(self.word, self.config.cols)):
            reduced = self.rows("reduced", tokens, count)
            yield self.tasks.linear(roles.reduction, normal, tokens, reduced, count, Kind.INT8, first=first)
            yield from self.scatter(roles.reduction, after, [area], reduced, first // self.word)
            self.arena.free(reduced)
        self.arena.free(normal)

    def head(self, image: int, pooling: Pooling) -> Steps:
        """Norm and mean of all tokens, and the logits."""
        roles, model, dim = self.roles, self.model, self.roles.stages[-1].dim
        pooled = yield from pooling.pool()
        yield self.tasks.requantize(roles.mean_quant, pooled, pooled, 1, dim, wide=(0, 0))
        size = align(4 * model.classes, self.word) // self.word
        logits = self.arena.allocate("logits", 1, size)
        yield self.tasks.linear(roles.head, pooled, 1, logits, model.classes, Kind.INT32)
        yield self.tasks.store(roles.head, Region.OUTPUT, image * size, logits, 1, ())
        self.arena.free(pooled, logits)

"""The items of a block: a rectangle's Q, K and V; its attention; the MLP of some tokens."""

from __future__ import annotations

from math import lcm
from typing import TYPE_CHECKING

from firmware.families.swin.constants import bias_name
from firmware.families.swin.grid import Area
from firmware.families.swin.pattern import Block, Stage
from firmware.families.swin.windows import Rectangle
from firmware.families.swin.worker import Steps, Worker, parts
from firmware.planner.allocator import Buffer
from firmware.planner.dependencies import Access
from firmware.planner.scheduler import Stream, Task
from firmware.planner.tasks import Pattern
from hw.spec.isa import Kind, Region
from hw.spec.memory import align, tiles

if TYPE_CHECKING:
    from firmware.families.swin.layout import StageLayout
    from firmware.families.swin.plan import Plan

__all__ = ["BlockSteps"]


class BlockSteps(Worker):
    """Block number `index` of a stage, in one slot."""

    def __init__(self, plan: Plan, slot: int, stage: Stage, places: StageLayout, index: int) -> None:
        super().__init__(plan, slot)
        self.stage, self.places, self.index = stage, places, index
        self.roles: Block = stage.blocks[index]
        self.dim, self.heads = stage.dim, stage.heads
        self.head = stage.dim // stage.heads  # channels of a head
        self.unit = lcm(self.config.cols, self.head) // self.head  # heads that begin with a tile

    # Q, K and V

    def project(self, rectangle: Rectangle) -> Steps:
        """Q, K and V of a rectangle into WORK, by as many heads at a time as there is room for."""
        roles, grid = self.roles, self.places.enters(self.index)
        area = Area(rectangle.y, rectangle.x, rectangle.height, rectangle.width)
        normal = yield from self.norm(
            roles.norm1, area, self.dim, lambda piece, rows: self.gather(roles.norm1, grid, piece, rows), wide=grid.wide
        )
        yield from self._keys(rectangle, normal)
        yield from self._values(rectangle, normal)
        yield from self._queries(rectangle, normal)
        self.arena.free(normal)

    def _keys(self, rectangle: Rectangle, normal: Buffer) -> Steps:
        """K in the order in which its tiles are streamed: [tile of keys][pass][key]."""
        cols, count, passes = self.config.cols, tiles(rectangle.tokens, self.config), self.head // self.word
        place = self.places.attention(self.index, rectangle)
        most = self.arena.room // (count * cols * passes)
        for first, heads in parts(self.heads, most, self.unit):
            keys = self.rows("keys", count * cols, heads * self.head)
            yield self._linear(normal, rectangle, keys, "k", first, heads)
            for head in range(heads):
                pattern = Pattern(
                    offset=place.keys + (first + head) * place.keys_words, scratch=keys.start + head * passes,
                    run=(cols, keys.row), first=(passes, cols, 1), second=(count, cols * passes, cols * keys.row),
                )  # fmt: skip
                yield self.tasks.scatter(self.roles.qkv, keys, pattern)
            self.arena.free(keys)

    def _values(self, rectangle: Rectangle, normal: Buffer) -> Steps:
        """V transposed, in the order in which its tiles are streamed: [tile of channels][pass over keys][channel]."""
        cols, count = self.config.cols, tiles(self.head, self.config)
        span = self._span(rectangle)
        place = self.places.attention(self.index, rectangle)
        beyond = count * cols - self.head  # rows of the last tile that no channel fills
        for first, heads in parts(self.heads, (self.arena.room // span - beyond) // self.head, self.unit):
            values = self.arena.allocate("values", heads * self.head + beyond, span)
            yield self._linear(normal, rectangle, values, "v", first, heads, transpose=span * self.word)
            for head in range(heads):
                pattern = Pattern(
                    offset=place.values + (first + head) * place.values_words, scratch=values.at(head * self.head),
                    run=(cols, span), first=(span, cols, 1), second=(count, span * cols, cols * span),
                )  # fmt: skip
                yield self.tasks.scatter(self.roles.qkv, values, pattern)
            self.arena.free(values)

    def _queries(self, rectangle: Rectangle, normal: Buffer) -> Steps:
        passes = self.head // self.word
        for first, heads in parts(self.heads, self.arena.room // (rectangle.tokens * passes), self.unit):
            query = self.rows("query", rectangle.tokens, heads * self.head)
            yield self._linear(normal, rectangle, query, "q", first, heads)
            yield self.tasks.scatter(self.roles.qkv, query, self._query_pattern(rectangle, query, first * passes))
            self.arena.free(query)

    def _linear(
        self, normal: Buffer, rectangle: Rectangle, dest: Buffer, part: str, first: int, heads: int, *,
        transpose: int = 0,
    ) -> Task:  # fmt: skip
        return self.tasks.linear(
            self.roles.qkv, normal, rectangle.tokens, dest, heads * self.head, Kind.INT8, part=part,
            first=first * self.head, transpose=transpose,
        )  # fmt: skip

    def _query_pattern(self, rectangle: Rectangle, query: Buffer, column: int) -> Pattern:
        row, place = self.dim // self.word, self.places.attention(self.index, rectangle)
        return Pattern(
            offset=place.query + column, scratch=query.start, run=(query.row, 1),
            first=(rectangle.tokens, row, query.row),
        )  # fmt: skip

    def _span(self, rectangle: Rectangle) -> int:
        """Words of a row of scores."""
        return align(rectangle.tokens, self.word) // self.word

    # Attention

    def attend(self, rectangle: Rectangle) -> Steps:
        """Attention within a rectangle, projected, added to the residual stream.

        Heads alternate: the array computes the scores of one while Shiftmax works on the one before. 8-bit
        probabilities take the place of the scores.
        """
        roles, tokens, span = self.roles, rectangle.tokens, self._span(rectangle)
        wide, passes = roles.softmax.attributes["bits"] == 16, self.head // self.word
        context = self.rows("context", tokens, self.dim)
        scores = [self.arena.allocate("scores", tokens, span, high=True) for _ in range(2)]
        weights = [self.arena.allocate("probabilities", 2 * tokens, span, high=True)] * 2 if wide else scores
        biases = [self.arena.allocate("bias", tokens, span, high=True)]
        if self.arena.room >= tokens * (span + 2 * passes):
            biases.append(self.arena.allocate("bias", tokens, span, high=True))
        for first, heads in parts(self.heads, self.arena.room // (tokens * passes), 1):
            query = self.rows("query", tokens, heads * self.head)
            yield self.tasks.gather(roles.scores, query, self._query_pattern(rectangle, query, first * passes))
            for head in range(first, first + heads):
                target, bias = scores[head % 2], biases[head % len(biases)]
                yield self.tasks.load(
                    roles.bias_add, Region.MODEL, self.plan.blobs[bias_name(roles, rectangle, head)].offset, bias,
                    tokens, (),
                )  # fmt: skip
                yield self.tasks.scores(
                    roles.scores, roles.scores_quant, query.column((head - first) * passes), tokens, passes, tokens,
                    target, self._stream(rectangle, head, values=False),
                )  # fmt: skip
                if head:
                    yield self._context(rectangle, head - 1, weights[(head - 1) % 2], context)
                yield from self._probabilities(rectangle, target, bias, weights[head % 2])
            self.arena.free(query)
        yield self._context(rectangle, self.heads - 1, weights[(self.heads - 1) % 2], context)
        self.arena.free(*scores, *biases, *(weights[:1] if wide else ()))
        area = Area(rectangle.y, rectangle.x, rectangle.height, rectangle.width)
        before = self.places.enters(self.index)
        yield from self.residual(roles.proj, context, self.dim, roles.add1, before, self.places.middle, area)
        self.arena.free(context)

    def _probabilities(self, rectangle: Rectangle, scores: Buffer, bias: Buffer, weights: Buffer) -> Steps:
        roles, tokens = self.roles, rectangle.tokens
        masked = roles.side**2 - tokens
        yield self.tasks.add_max(roles.bias_add, scores, bias, tokens, tokens, self.stats)
        yield self.tasks.softmax_sum(roles.softmax, scores, tokens, tokens, self.stats, row_max=None, masked=masked)
        yield self.tasks.softmax(roles.softmax, scores, tokens, tokens, self.stats, weights, row_max=None)

    def _context(self, rectangle: Rectangle, head: int, weights: Buffer, context: Buffer) -> Task:
        return self.tasks.context(
            self.roles.context, self.roles.context_quant, weights, head, rectangle.tokens, self.head, context,
            wide=self.roles.softmax.attributes["bits"] == 16, stream=self._stream(rectangle, head, values=True),
        )  # fmt: skip

    def _stream(self, rectangle: Rectangle, head: int, *, values: bool) -> Stream:
        place = self.places.attention(self.index, rectangle)
        words = place.values_words if values else place.keys_words
        at = (place.values if values else place.keys) + head * words
        return Stream(Region.WORK, at, words, (Access("work", at, at + words),))

    # MLP

    def mlp(self, area: Area) -> Steps:
        """The MLP of a run of tokens, added to the residual stream, of whose only line `area` is a part."""
        roles, stage = self.roles, self.stage
        before = self.places.middle.line(stage.tokens)
        after = self.places.leaves(self.index).line(stage.tokens)
        normal = yield from self.norm(
            roles.norm2, area, self.dim, lambda piece, rows: self.gather(roles.norm2, before, piece, rows)
        )
        hidden = self.rows("hidden", area.tokens, stage.hidden)
        yield self.tasks.linear(
            roles.fc1, normal, area.tokens, hidden, stage.hidden, Kind.INT8, row_max=self.row_max
        )  # fmt: skip
        self.arena.free(normal)
        yield self.tasks.gelu(roles.gelu, roles.gelu_quant, hidden, area.tokens, stage.hidden, self.row_max)
        yield from self.residual(roles.fc2, hidden, self.dim, roles.add2, before, after, area)
        self.arena.free(hidden)

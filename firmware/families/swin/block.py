"""The items of a block: Q, K and V of tokens of a rectangle; their attention; the MLP of some tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from firmware.families.swin.constants import bias_name
from firmware.families.swin.grid import Area
from firmware.families.swin.layout import StageLayout
from firmware.families.swin.pattern import Block, Stage
from firmware.families.swin.windows import Share
from firmware.families.swin.worker import GridWorker
from firmware.planner.allocator import Buffer
from firmware.planner.scheduler import Task
from firmware.planner.steps import Rows, Slot, Steps, is_wide, parts
from firmware.planner.tasks import Tasks
from firmware.planner.transfer import Pattern
from hw.spec.isa import Kind, Region
from hw.spec.memory import align

__all__ = ["BlockSteps"]


class BlockSteps(GridWorker):
    """Block number `index` of a stage, in one slot."""

    def __init__(self, tasks: Tasks, slot: Slot, stage: Stage, places: StageLayout, index: int) -> None:
        super().__init__(tasks, slot)
        self.stage, self.places, self.index = stage, places, index
        self.roles: Block = stage.blocks[index]
        self.dim, self.heads = stage.dim, stage.heads
        self.head = stage.inner // stage.heads  # channels of a head

    # Q, K and V

    def project(self, shares: Sequence[Share]) -> Steps:
        """Q, K and V of tokens of rectangles into WORK, by as many heads at a time as there is room for."""
        roles, grid = self.roles, self.places.enters(self.index)
        normal = yield from self.norm(
            roles.norm1, [share.areas for share in shares], self.dim, self.from_grid(roles.norm1, grid),
            wide=grid.wide, planes=is_wide(roles.norm1_quant),
        )  # fmt: skip
        rows, stack = 0, []
        for share in shares:
            there = self.places.attention(self.index, share.rectangle).key_values
            stack.append(Rows(rows, share.first, share.tokens, there))
            rows += self.each(share.tokens)
        joint = self.config.slices > 1  # a slice has few of a window's tokens
        yield from self.keys(roles.qkv, normal, stack, joint=joint)
        yield from self.values(roles.qkv, normal, stack, joint=joint)
        yield from self._queries(shares, normal)
        self.arena.free(normal)

    def _queries(self, shares: Sequence[Share], normal: Buffer) -> Steps:
        passes, rows = self.head // self.word, sum(self.each(share.tokens) for share in shares)
        most = self.arena.room // (rows * passes)
        for first, heads in parts(self.heads, most, self.whole_heads(self.head)):
            query = self.rows("query", rows, heads * self.head)
            yield self.tasks.linear(
                self.roles.qkv, normal, rows, query, heads * self.head, Kind.INT8, part="q",
                first=first * self.head,
            )  # fmt: skip
            row = 0
            for share in shares:
                mine = query.part(row, self.each(share.tokens))
                for number, pattern in self._query_patterns(share, mine, first * passes):
                    yield self.tasks.scatter(self.roles.qkv, query, pattern, number)
                row += self.each(share.tokens)
            self.arena.free(query)

    def _query_patterns(self, share: Share, query: Buffer, column: int) -> Iterator[tuple[int, Pattern]]:
        """(slice, its tokens' words of Q)."""
        row, start = self.stage.inner // self.word, self.places.attention(self.index, share.rectangle).query
        for part in self.spread(share.tokens):
            yield part.slice, Pattern(
                offset=start + (share.first + part.first) * row + column, scratch=query.start, run=(query.row, 1),
                first=(part.tokens, row, query.row),
            )  # fmt: skip

    # Attention

    def attend(self, share: Share) -> Steps:
        """Attention of tokens of a rectangle to all of it, projected, added to the residual stream.

        8-bit probabilities take the place of the scores.
        """
        roles, rectangle, every = self.roles, share.rectangle, share.rectangle.tokens
        tokens = self.each(share.tokens)
        span = align(every, self.word) // self.word
        there = self.places.attention(self.index, rectangle).key_values
        wide, passes = is_wide(roles.softmax), self.head // self.word
        context = self.rows("context", tokens, self.stage.inner, planes=is_wide(roles.context_quant))
        both = [self.arena.allocate("scores", tokens, span, high=True) for _ in range(2)]
        weights = [self.arena.allocate("probabilities", tokens, span, high=True, planes=True)] * 2 if wide else both
        biases = [self.arena.allocate("bias", tokens, span, high=True)]
        if self.arena.room >= tokens * (span + 2 * passes):
            biases.append(self.arena.allocate("bias", tokens, span, high=True))
        together = dict(parts(self.heads, self.arena.room // (tokens * passes), 1))  # heads whose Q come together
        query, first = context, 0  # of the heads from `first` on

        def scores(head: int) -> Steps:
            nonlocal query, first
            if head in together:
                if head:
                    self.arena.free(query)
                query, first = self.rows("query", tokens, together[head] * self.head), head
                for number, pattern in self._query_patterns(share, query, head * passes):
                    yield self.tasks.gather(roles.scores, query, pattern, number)
            offset, bias = self.blobs[bias_name(roles, rectangle, head)].offset + share.first * span, head % len(biases)
            shares = self.spread(share.tokens)
            yield from self.load_tokens(roles.bias_add, Region.MODEL, offset, biases[bias], shares)
            yield self.tasks.scores(
                roles.scores, roles.scores_quant, head, query.column((head - first) * passes), tokens, passes, every,
                both[head % 2], there.keys(head),
            )  # fmt: skip

        def probabilities(head: int) -> Steps:
            target, bias, masked = both[head % 2], biases[head % len(biases)], roles.side**2 - every
            yield self.tasks.add_max(roles.bias_add, target, bias, tokens, every, self.stats)
            yield self.tasks.softmax_sum(
                roles.softmax, head, target, tokens, every, self.stats, row_max=None, masked=masked
            )
            yield self.tasks.softmax(
                roles.softmax, head, target, tokens, every, self.stats, weights[head % 2], row_max=None
            )

        def contexts(head: int) -> Task:
            return self.tasks.context(
                roles.context, roles.context_quant, weights[head % 2], head, tokens, self.head, context,
                stream=there.values(head),
            )  # fmt: skip

        yield from self.alternate(range(self.heads), scores, probabilities, contexts)
        self.arena.free(query, *both, *biases, *(weights[:1] if wide else ()))
        before = self.places.enters(self.index)
        yield from self.add_to_grid(
            roles.proj, context, self.dim, roles.add1, before, self.places.middle, share.areas
        )  # fmt: skip
        self.arena.free(context)

    # MLP

    def mlp(self, area: Area) -> Steps:
        """The MLP of a run of tokens, added to the residual stream, of whose only line `area` is a part."""
        roles, stage = self.roles, self.stage
        before = self.places.middle.line(stage.tokens)
        after = self.places.leaves(self.index).line(stage.tokens)
        normal = yield from self.norm(
            roles.norm2, [[area]], self.dim, self.from_grid(roles.norm2, before), planes=is_wide(roles.norm2_quant)
        )  # fmt: skip
        rows = self.each(area.tokens)
        hidden = self.rows("hidden", rows, stage.hidden, wide=roles.act.wide)
        hidden = yield from self.expand(roles.fc1, roles.act, normal, rows, hidden)
        yield from self.add_to_grid(roles.fc2, hidden, self.dim, roles.add2, before, after, [area])
        self.arena.free(hidden)

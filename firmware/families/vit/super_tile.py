"""What one super-tile does in one block, step by step, in the arena of its slot."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from firmware.families.vit.pattern import Block
from firmware.planner.allocator import Buffer
from firmware.planner.dependencies import Access
from firmware.planner.scheduler import Stream, Task
from firmware.planner.tasks import Pattern
from hw.spec.isa import Kind, Region
from hw.spec.memory import align
from hw.spec.model import Node

if TYPE_CHECKING:
    from firmware.families.vit.plan import Plan

__all__ = ["Steps", "SuperTile"]

Steps = Generator[Task, None, None]


class SuperTile:
    """Super-tile `tile` of `image` in `block` (-1: the patch embedding), executed in `slot`.

    Steps allocate and free scratchpad buffers as they go; accesses stay ordered by the tracker, so memory is reused at
    once. With `ahead`, norm parameters are loaded long before they are needed, because LOAD queues behind weights.
    """

    def __init__(self, plan: Plan, slot: int, image: int, block: int, tile: int, *, ahead: bool) -> None:
        self.plan, self.slot, self.image, self.block, self.ahead = plan, slot, image, block, ahead
        self.model, self.config, self.tasks, self.roles = plan.model, plan.config, plan.tasks, plan.roles
        self.arena = plan.arenas[slot]
        self.tokens, self.start = plan.tiles[tile], plan.starts[tile]
        self.word = plan.config.word_bytes

    def steps(self) -> Steps:
        """The whole item: this block's attention and MLP, then the next block's Q, K and V, or the head."""
        if self.block < 0:
            residual = self._rows("residual", self.plan.residual_words, high=True)
            params = yield from self._embed(residual)
        else:
            roles = self.roles.blocks[self.block]
            context = yield from self._attention(roles)
            residual = self._rows("residual", self.plan.residual_words, high=True)
            before = yield from self._project(roles, context, residual)
            params = yield from self._mlp(roles, residual, before)
        if self.block + 1 < self.roles.depth:
            yield from self._next(self.roles.blocks[self.block + 1], residual, params)
        elif self.start == 0:
            yield from self._head(residual, params)
        self.arena.free(residual)

    def _add(self, node: Node, branch: Buffer, residual: Buffer) -> Task:
        """residual += branch"""
        rows = residual.words // residual.row
        return self.tasks.add(node, branch, residual, residual, rows, self.roles.dim)

    def _rows(self, name: str, row: int, *, high: bool = False) -> Buffer:
        return self.arena.allocate(name, self.tokens, row, high=high)

    # Norms

    def _following_norm(self) -> Node | None:
        """The norm after this block: the next block's, or, for the class token, the last one."""
        if self.block + 1 < self.roles.depth:
            return self.roles.blocks[self.block + 1].norm1
        return self.roles.norm if self.start == 0 else None

    def _parameters(self, node: Node) -> Generator[Task, None, Buffer]:
        blob = self.plan.blobs[node.name]
        params = self.arena.allocate("norm parameters", 1, blob.words, high=True)
        yield self.tasks.load(node, Region.MODEL, blob.offset, params, 1, ())
        return params

    def _parameters_ahead(self, node: Node | None) -> Generator[Task, None, Buffer | None]:
        if node is None or not self.ahead:
            return None
        return (yield from self._parameters(node))

    def _norm(self, node: Node, residual: Buffer, tokens: int, params: Buffer | None) -> Generator[Task, None, Buffer]:
        """int8 rows of the norm of `residual`."""
        target = self.arena.allocate("normalised", tokens, self.plan.dim_words)
        yield self.tasks.moments(node, residual, tokens, self.roles.dim, self.slot)
        table = params or (yield from self._parameters(node))
        yield self.tasks.layer_norm(node, residual, tokens, self.roles.dim, self.slot, table, target)
        self.arena.free(table)
        return target

    # Steps

    def _embed(self, residual: Buffer) -> Generator[Task, None, Buffer | None]:
        roles, model = self.roles, self.model
        first = 1 if self.start == 0 else 0  # the class token has no patch
        patches = self.tokens - first
        offset = self.plan.blobs[roles.position.name].offset + self.start * self.plan.residual_words
        yield self.tasks.load(roles.add, Region.MODEL, offset, residual, self.tokens, ())
        params = yield from self._parameters_ahead(self._following_norm())
        if patches:
            row = align(model.image[0] * model.patch**2, self.word) // self.word
            source = self.arena.allocate("patches", patches, row)
            offset = (self.image * (roles.tokens - 1) + self.start + first - 1) * row
            yield self.tasks.load(roles.embed, Region.INPUT, offset, source, patches, ())
            branch = self.arena.allocate("branch", patches, self.plan.residual_words, high=True)
            yield self.tasks.linear(roles.embed, source, patches, branch, roles.dim, Kind.INT16)
            self.arena.free(source)
            yield self._add(roles.add, branch, residual.part(first, patches))
            self.arena.free(branch)
        return params

    def _attention(self, roles: Block) -> Generator[Task, None, Buffer]:
        """Heads alternate: the array computes the scores of one while Shiftmax works on the one before."""
        plan, heads = self.plan, self.roles.heads
        planes = 2 if roles.softmax.attributes["bits"] == 16 else 1
        query = self._rows("query", plan.dim_words)
        at = plan.query_at(self.image, self.start)
        reads = (Access("work", at, at + query.words),)
        yield self.tasks.load(roles.scores, Region.WORK, at, query, self.tokens, reads)
        context = self._rows("context", plan.dim_words)
        scores = [self._rows("scores", plan.key_words, high=True) for _ in range(min(2, heads))]
        weights = self.arena.allocate("probabilities", planes * self.tokens, plan.key_words)
        for head in range(heads):
            bank, target = self.slot * 2 + head % 2, scores[head % len(scores)]
            stream = self._stream(head, values=False)
            passes = plan.head_dim // self.word
            yield self.tasks.scores(
                roles.scores, roles.scores_quant, query.column(head * passes), self.tokens, passes, plan.roles.tokens,
                target, stream, row_max=bank,
            )  # fmt: skip
            if head:
                yield self._context(roles, head - 1, weights, context)
            yield self.tasks.softmax_sum(roles.softmax, target, self.tokens, plan.roles.tokens, self.slot, row_max=bank)
            yield self.tasks.softmax(
                roles.softmax, target, self.tokens, plan.roles.tokens, self.slot, weights, row_max=bank
            )
        yield self._context(roles, heads - 1, weights, context)
        self.arena.free(query, *scores, weights)
        return context

    def _context(self, roles: Block, head: int, weights: Buffer, context: Buffer) -> Task:
        wide = roles.softmax.attributes["bits"] == 16
        stream = self._stream(head, values=True)
        return self.tasks.context(
            roles.context, roles.context_quant, weights, head, self.tokens, self.plan.head_dim, context,
            wide=wide, stream=stream,
        )  # fmt: skip

    def _stream(self, head: int, *, values: bool) -> Stream:
        at = self.plan.attention_at(self.image, self.block, head, values=values)
        words = self.plan.value_words_per_head if values else self.plan.key_words_per_head
        return Stream(Region.WORK, at, words, (Access("work", at, at + words),))

    def _project(self, roles: Block, context: Buffer, residual: Buffer) -> Generator[Task, None, Buffer | None]:
        at = self.plan.residual_at(self.image, self.start)
        reads = (Access("work", at, at + residual.words),)
        yield self.tasks.load(roles.add1, Region.WORK, at, residual, self.tokens, reads)
        params = yield from self._parameters_ahead(roles.norm2)
        branch = self._rows("branch", self.plan.residual_words, high=True)
        yield self.tasks.linear(roles.proj, context, self.tokens, branch, self.roles.dim, Kind.INT16)
        self.arena.free(context)
        yield self._add(roles.add1, branch, residual)
        self.arena.free(branch)
        return params

    def _mlp(self, roles: Block, residual: Buffer, params: Buffer | None) -> Generator[Task, None, Buffer | None]:
        """Leaves the block's output in `residual`. Returns the parameters of the norm that follows, if loaded."""
        bank, width = self.slot * 2, self.roles.hidden
        hidden = self._rows("hidden", width // self.word)  # below what is freed first, so that no hole is left
        normal = yield from self._norm(roles.norm2, residual, self.tokens, params)
        yield self.tasks.linear(roles.fc1, normal, self.tokens, hidden, width, Kind.INT8, row_max=bank)
        self.arena.free(normal)
        yield self.tasks.gelu(roles.gelu, roles.gelu_quant, hidden, self.tokens, width, bank)
        branch = self._rows("branch", self.plan.residual_words, high=True)
        after = yield from self._parameters_ahead(self._following_norm())
        yield self.tasks.linear(roles.fc2, hidden, self.tokens, branch, self.roles.dim, Kind.INT16)
        self.arena.free(hidden)
        yield self._add(roles.add2, branch, residual)
        self.arena.free(branch)
        return after

    def _next(self, roles: Block, residual: Buffer, params: Buffer | None) -> Steps:
        """Q, K and V of the next block, and everything the other super-tiles need of them, into WORK."""
        normal = yield from self._norm(roles.norm1, residual, self.tokens, params)
        at = self.plan.residual_at(self.image, self.start)
        writes = (Access("work", at, at + residual.words),)
        yield self.tasks.store(roles.norm1, Region.WORK, at, residual, self.tokens, writes)
        yield from self._keys(roles, normal)
        yield from self._values(roles, normal)
        query = self._rows("query", self.plan.dim_words)
        yield self.tasks.linear(roles.qkv, normal, self.tokens, query, self.roles.dim, Kind.INT8, part="q")
        at = self.plan.query_at(self.image, self.start)
        writes = (Access("work", at, at + query.words),)
        yield self.tasks.store(roles.qkv, Region.WORK, at, query, self.tokens, writes)
        self.arena.free(normal, query)

    def _keys(self, roles: Block, normal: Buffer) -> Steps:
        """K, stored in the order in which its tiles are streamed: [tile of keys][pass][key]."""
        plan, cols = self.plan, self.config.cols
        passes, tiles = plan.head_dim // self.word, align(self.tokens, cols) // cols
        keys = self.arena.allocate("keys", tiles * cols, plan.dim_words, high=True)
        yield self.tasks.linear(roles.qkv, normal, self.tokens, keys, self.roles.dim, Kind.INT8, part="k")
        for head in range(self.roles.heads):
            at = plan.attention_at(self.image, self.block + 1, head, values=False) + self.start * passes
            pattern = Pattern(
                offset=at, scratch=keys.start + head * passes, run=(cols, plan.dim_words),
                first=(passes, cols, 1), second=(tiles, cols * passes, cols * plan.dim_words),
            )  # fmt: skip
            yield self.tasks.scatter(roles.qkv, keys, pattern)
        self.arena.free(keys)

    def _values(self, roles: Block, normal: Buffer) -> Steps:
        """V transposed, stored in the order in which its tiles are streamed: [tile of dims][pass over keys][dim]."""
        plan, cols, heads = self.plan, self.config.cols, self.roles.heads
        span = align(self.tokens, self.word) // self.word  # words of a transposed row of this super-tile
        tiles = align(plan.head_dim, cols) // cols
        rows = (heads - 1) * plan.head_dim + tiles * cols
        values = self.arena.allocate("values", rows, span, high=True)
        yield self.tasks.linear(
            roles.qkv, normal, self.tokens, values, self.roles.dim, Kind.INT8, part="v", transpose=span * self.word
        )
        for head in range(heads):
            at = plan.attention_at(self.image, self.block + 1, head, values=True) + self.start // self.word * cols
            pattern = Pattern(
                offset=at, scratch=values.at(head * plan.head_dim), run=(cols, span),
                first=(span, cols, 1), second=(tiles, plan.key_words * cols, cols * span),
            )  # fmt: skip
            yield self.tasks.scatter(roles.qkv, values, pattern)
        self.arena.free(values)

    def _head(self, residual: Buffer, params: Buffer | None) -> Steps:
        roles, classes = self.roles, self.model.classes
        normal = yield from self._norm(roles.norm, residual, 1, params)
        row = align(4 * classes, self.word) // self.word
        logits = self.arena.allocate("logits", 1, row, high=True)
        yield self.tasks.linear(roles.head, normal, 1, logits, classes, Kind.INT32)
        yield self.tasks.store(roles.head, Region.OUTPUT, self.image * row, logits, 1, ())
        self.arena.free(normal, logits)

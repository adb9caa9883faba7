"""What one super-tile does in one block, step by step, in the arena of its slot."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from math import lcm

from firmware.families.vit.layout import Layout
from firmware.families.vit.pattern import Block, VisionTransformer
from firmware.planner.allocator import Buffer
from firmware.planner.program import CompileError
from firmware.planner.scheduler import Task
from firmware.planner.steps import Rows, Slot, Steps, Worker, is_wide, parts
from firmware.planner.summing import load_ones, store_transposed
from firmware.planner.tasks import Tasks
from firmware.planner.wide_summing import store_bytes, sum_up
from hw.spec.isa import Kind, Region
from hw.spec.memory import align
from hw.spec.model import Model, Node

__all__ = ["Share", "SuperTile"]


@dataclass(frozen=True)
class Share:
    """Tokens start.. of `image` in `block` (-1: the patch embedding); the next block computes the first `following`."""

    image: int
    block: int
    start: int
    tokens: int
    following: int


class SuperTile(Worker):
    """Executes a share.

    With `ahead`, norm parameters are loaded long before they are needed, because LOAD queues behind weights.
    """

    def __init__(
        self, model: Model, roles: VisionTransformer, layout: Layout, tasks: Tasks, slot: Slot, share: Share, *,
        ahead: bool,
    ) -> None:  # fmt: skip
        super().__init__(tasks, slot)
        self.model, self.roles, self.layout, self.ahead = model, roles, layout, ahead
        self.image, self.block, self.start, self.tokens = share.image, share.block, share.start, share.tokens
        self.following = share.following
        self.height = self.each(share.tokens)  # rows of their buffers

    def steps(self) -> Steps:
        """The whole item: this block's attention and MLP, then the next block's Q, K and V, or the head."""
        if self.block < 0:
            residual = self._stream("residual")
            params = yield from self._embed(residual)
        else:
            roles = self.roles.blocks[self.block]
            context = yield from self._attention(roles)
            residual = self._stream("residual")
            before = yield from self._out(roles, context, residual)
            params = yield from self._mlp(roles, residual, before)
        if self.block + 1 < self.roles.depth:
            yield from self._next(self.roles.blocks[self.block + 1], residual, params)
        elif self.roles.pool and self.roles.norm_of_mean:
            waiting_bytes = self.layout.token_bytes(self.image)
            yield from store_bytes(self, self.roles.pool, residual, self.tokens, self.start, waiting_bytes)
        elif self.roles.pool:
            normal = yield from self._norm(self.roles.norm, self.roles.norm_quant, residual, self.height, params)
            waiting = self.layout.pooling(self.image)
            yield from store_transposed(self, self.roles.pool, normal, self.start, self.tokens, waiting)
        elif self.start == 0:
            yield from self._head(residual, params)
        self.arena.free(residual)

    def _stream(self, name: str) -> Buffer:
        """Rows of the residual stream."""
        return self.rows(name, self.height, self.roles.dim, wide=1, high=True)

    # Norms

    def _following_norm(self) -> Node | None:
        """The norm after this block: the next block's, or, for the class token, those of a mean, the last one.

        None where there is none, or only that of the mean.
        """
        if self.block + 1 < self.roles.depth:
            return self.roles.blocks[self.block + 1].norm1
        if self.roles.norm_of_mean:
            return None
        return self.roles.norm if self.start == 0 or self.roles.pool else None

    def _parameters_ahead(self, node: Node | None) -> Generator[Task, None, Buffer | None]:
        if node is None or not self.ahead:
            return None
        return (yield from self.parameters(node, high=True))

    def _norm(
        self, node: Node, quant: Node, residual: Buffer, tokens: int, params: Buffer | None
    ) -> Generator[Task, None, Buffer]:
        """Rows of the norm of `residual`, int8 or in two byte planes."""
        target = self.rows("normalised", tokens, self.roles.dim, planes=is_wide(quant))
        table = yield from self.normalise(node, residual, tokens, self.roles.dim, target, params)
        self.arena.free(table)
        return target

    # Steps

    def _embed(self, residual: Buffer) -> Generator[Task, None, Buffer | None]:
        roles, model = self.roles, self.model
        first = min(max(roles.prefix - self.start, 0), self.tokens)  # those before have no patch
        positions = self.blobs[roles.position.name].offset + self.start * residual.row
        yield from self.load_tokens(roles.add, Region.MODEL, positions, residual, self.spread(self.tokens))
        params = yield from self._parameters_ahead(self._following_norm())
        if first < self.tokens:
            alone = self.config.slices == 1
            skipped = first if alone else 0  # rows that nothing is added to; in one of several slices it is taken back
            height = self.height - skipped
            row = align(model.image[0] * model.patch**2, self.word) // self.word
            source = self.arena.allocate("patches", height, row)
            offset = (self.image * (roles.tokens - roles.prefix) + self.start - roles.prefix) * row
            shares = [replace(part, row=part.row - skipped) for part in self.spread(self.tokens, first)]
            yield from self.load_tokens(roles.embed, Region.INPUT, offset, source, shares)
            branch = self.rows("branch", height, roles.dim, wide=1, high=True)
            into = residual.part(skipped, height)
            yield from self.residual(roles.embed, source, branch, roles.add, into, into, height, roles.dim)
            self.arena.free(source, branch)
            if not alone:
                shares = self.spread(self.tokens, 0, first)
                yield from self.load_tokens(roles.add, Region.MODEL, positions, residual, shares)
        return params

    def _attention(self, roles: Block) -> Generator[Task, None, Buffer]:
        tokens, every, heads = self.height, self.roles.tokens, self.roles.heads
        there = self.layout.attention(self.image, self.block)
        query = self.rows("query", tokens, self.roles.inner)
        at = self.layout.query(self.image, self.start)
        yield from self.load_tokens(roles.scores, Region.WORK, at, query, self.spread(self.tokens))
        context = self.rows("context", tokens, self.roles.inner, planes=is_wide(roles.context_quant))
        span = align(every, self.word) // self.word
        both = [self.arena.allocate("scores", tokens, span, high=True) for _ in range(min(2, heads))]
        weights = self.arena.allocate("probabilities", tokens, span, planes=is_wide(roles.softmax))
        passes = there.head // self.word

        def scores(head: int) -> Steps:
            yield self.tasks.scores(
                roles.scores, roles.scores_quant, head, query.column(head * passes), tokens, passes, every,
                both[head % len(both)], there.keys(head), row_max=self.row_max + head % 2,
            )  # fmt: skip

        def probabilities(head: int) -> Steps:
            target, bank = both[head % len(both)], self.row_max + head % 2
            yield self.tasks.softmax_sum(roles.softmax, head, target, tokens, every, self.stats, row_max=bank)
            yield self.tasks.softmax(roles.softmax, head, target, tokens, every, self.stats, weights, row_max=bank)

        def contexts(head: int) -> Task:
            return self.tasks.context(
                roles.context, roles.context_quant, weights, head, tokens, there.head, context,
                stream=there.values(head),
            )  # fmt: skip

        yield from self.alternate(range(heads), scores, probabilities, contexts)
        self.arena.free(query, *both, weights)
        return context

    def _out(self, roles: Block, context: Buffer, residual: Buffer) -> Generator[Task, None, Buffer | None]:
        at = self.layout.residual(self.image, self.start)
        yield from self.load_tokens(roles.add1, Region.WORK, at, residual, self.spread(self.tokens))
        params = yield from self._parameters_ahead(roles.norm2)
        yield from self._back(roles.proj, context, roles.add1, residual)
        return params

    def _back(
        self, linear: Node, source: Buffer, add: Node, residual: Buffer, following: Node | None = None
    ) -> Generator[Task, None, Buffer | None]:
        """residual += linear(source), in as few parts of the channels as there is room for; `source` is given back.

        Returns the parameters of the `following` norm, if they are loaded ahead.
        """
        params: Buffer | None = None
        most = self.arena.room // (2 * self.height) * self.word
        for first, count in parts(self.roles.dim, most, lcm(self.word, self.config.cols)):
            branch = self.rows("branch", self.height, count, wide=1, high=True)
            if not first:
                params = yield from self._parameters_ahead(following)
            into = residual.column(2 * first // self.word)
            yield from self.residual(linear, source, branch, add, into, into, self.height, count, first=first)
            self.arena.free(branch)
        self.arena.free(source)
        return params

    def _mlp(self, roles: Block, residual: Buffer, params: Buffer | None) -> Generator[Task, None, Buffer | None]:
        """Leaves the block's output in `residual`. Returns the parameters of the norm that follows, if loaded."""
        hidden = self.rows("hidden", self.height, self.roles.hidden, wide=roles.act.wide)  # no hole is left below
        normal = yield from self._norm(roles.norm2, roles.norm2_quant, residual, self.height, params)
        hidden = yield from self.expand(roles.fc1, roles.act, normal, self.height, hidden)
        return (yield from self._back(roles.fc2, hidden, roles.add2, residual, self._following_norm()))

    def _next(self, roles: Block, residual: Buffer, params: Buffer | None) -> Steps:
        """K and V of the next block, which all tokens need, and what those that go on need: into WORK."""
        normal = yield from self._norm(roles.norm1, roles.norm1_quant, residual, self.height, params)
        if self.following:
            at = self.layout.residual(self.image, self.start)
            yield from self.store_tokens(roles.norm1, at, residual, self.tokens, self.following)
        there = self.layout.attention(self.image, self.block + 1)
        stack = [Rows(0, self.start, self.tokens, there)]
        yield from self.keys(roles.qkv, normal, stack, high=True)
        yield from self.values(roles.qkv, normal, stack, high=True)
        if self.following:
            rows = min(self.following, self.height)
            query = self.rows("query", rows, self.roles.inner)
            yield self.tasks.linear(roles.qkv, normal, rows, query, self.roles.inner, Kind.INT8, part="q")
            at = self.layout.query(self.image, self.start)
            yield from self.store_tokens(roles.qkv, at, query, self.tokens, self.following)
            self.arena.free(query)
        self.arena.free(normal)

    def _head(self, residual: Buffer, params: Buffer | None) -> Steps:
        if self.roles.read > self.height:
            raise CompileError(f"the head reads {self.roles.read} tokens, but a super-tile has {self.height}")
        normal = yield from self._norm(self.roles.norm, self.roles.norm_quant, residual, self.roles.read, params)
        yield from self._logits(replace(normal, row=normal.words))

    def pooled(self) -> Steps:
        """The head of the mean, when all tokens' norms, or all tokens, are in WORK."""
        pool, quant, dim = self.roles.pool, self.roles.pool_quant, self.roles.dim
        assert pool is not None
        assert quant is not None
        if self.roles.norm_of_mean:
            total = self.rows("mean", 1, dim, wide=1, high=True)
            yield from sum_up(self, pool, quant, self.layout.token_bytes(self.image), total)
            normal = yield from self._norm(self.roles.norm, self.roles.norm_quant, total, 1, None)
            self.arena.free(total)
            yield from self._logits(normal)
            return
        ones = yield from load_ones(self, pool, self.roles.tokens)
        mean = self.rows("mean", 1, dim)
        waiting = self.layout.pooling(self.image)
        yield self.tasks.context(pool, quant, ones, 0, 1, dim, mean, stream=waiting.stream)
        self.arena.free(ones)
        yield from self._logits(mean)

    def _logits(self, normal: Buffer) -> Steps:
        roles, classes = self.roles, self.model.classes
        row = align(4 * classes, self.word) // self.word
        logits = self.arena.allocate("logits", 1, row, high=True)
        yield self.tasks.linear(roles.head, normal, 1, logits, classes, Kind.INT32)
        yield self.tasks.store(roles.head, Region.OUTPUT, self.image * row, logits, 1, ())
        self.arena.free(normal, logits)

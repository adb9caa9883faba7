"""What one super-tile does in one block, step by step, in the arena of its slot.

It has the tokens of several whole texts, which share the reading of every weight matrix but K's and V's, or some of the
tokens of one. The residual stream, int16, waits in WORK while the MLP's hidden channels need the scratchpad.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from math import lcm

from firmware.families.bert.layout import Layout
from firmware.families.bert.pattern import Block, Encoder
from firmware.families.bert.pooling import ones
from firmware.planner.allocator import Buffer
from firmware.planner.dependencies import Access
from firmware.planner.image import ModelImage
from firmware.planner.scheduler import Task
from firmware.planner.steps import Rows, Slot, Steps, Worker, is_wide, parts
from firmware.planner.tasks import Tasks
from firmware.planner.transfer import Pattern
from firmware.planner.wide_summing import store_bytes, sum_up
from hw.spec.isa import Kind, Region
from hw.spec.memory import align
from hw.spec.model import Node

__all__ = ["Share", "SuperTile"]


@dataclass(frozen=True)
class Share:
    """Tokens start.. of each of `count` texts from number `first` on; all tokens where there are several texts."""

    first: int
    count: int
    start: int
    tokens: int

    @property
    def rows(self) -> int:
        return self.count * self.tokens


class SuperTile(Worker):
    """Executes a share's steps."""

    def __init__(
        self, roles: Encoder, layout: Layout, tasks: Tasks, image: ModelImage, slot: Slot, share: Share
    ) -> None:
        super().__init__(tasks, slot)
        self.roles, self.layout, self.image, self.share, self.count = roles, layout, image, share, share.rows

    def embed(self) -> Steps:
        """The host's rows, normalised, and Q, K and V of the first block."""
        stream = self._rows()
        embedded, at = self.roles.embedded, self.layout.stream(self.share.first, self.share.start)
        yield self.tasks.load(embedded, Region.INPUT, at, stream, self.count, ())
        yield from self._enter(0, stream)

    def block(self, index: int) -> Steps:
        """Attention and MLP of a block, then the next block's Q, K and V, or what the feature is the sum of."""
        roles = self.roles.blocks[index]
        context = yield from self._attention(roles, index)
        total = yield from self._add(roles.proj, context, roles.add1)
        normal = yield from self._norms(roles.norm2, roles.norm2_quant, roles.stream2, total)
        total = yield from self._mlp(roles, normal)
        if index + 1 < len(self.roles.blocks):
            yield from self._enter(index + 1, total)
        else:
            yield from self._leave(total)

    def feature(self, text: int) -> Steps:
        """The sums of a text's tokens."""
        size = align(4 * self.roles.dim, self.word) // self.word
        total = self.arena.allocate("feature", 1, size, high=True)
        node, waiting = self.roles.pool, self.layout.token_bytes(text)
        yield from sum_up(self, node, None, waiting, total, ones(self.image, waiting.tokens, self.config))
        yield self.tasks.store(node, Region.OUTPUT, text * size, total, 1, ())
        self.arena.free(total)

    # The residual stream

    def _rows(self) -> Buffer:
        return self.rows("stream", self.count, self.roles.dim, wide=1)

    def _stream_access(self, words: int) -> tuple[int, tuple[Access, ...]]:
        at = self.layout.stream(self.share.first, self.share.start)
        return at, (Access("work", at, at + words),)

    def _norms(self, norm: Node, quant: Node, stream: Node, rows: Buffer) -> Generator[Task, None, Buffer]:
        """`rows` normalised as a linear wants them, and as the residual stream, which goes to WORK; they are freed."""
        dim = self.roles.dim
        normal = self.rows("normalised", self.count, dim, planes=is_wide(quant), high=True)
        params = yield from self.normalise(norm, rows, self.count, dim, normal, None)
        self.arena.free(params)
        yield from self._normalise_stream(stream, rows)
        at, writes = self._stream_access(rows.words)
        yield self.tasks.store(stream, Region.WORK, at, rows, self.count, writes)
        self.arena.free(rows)
        return normal

    def _normalise_stream(self, node: Node, rows: Buffer) -> Steps:
        """In place; the statistics of `rows` are there."""
        params = yield from self.parameters(node)
        yield self.tasks.layer_norm(node, rows, self.count, self.roles.dim, self.stats, params, rows, wide_dest=1)
        self.arena.free(params)

    def _add(self, linear: Node, source: Buffer, add: Node) -> Generator[Task, None, Buffer]:
        """The stream + linear(source), by way of WORK where there is no room for it; `source` is given back."""
        unit, dim, words = lcm(self.word, self.config.cols), self.roles.dim, self.layout.stream_words
        least = 2 * unit // self.word * self.count  # of a part
        if self.arena.room < self.count * words + least:
            yield from self._add_in_work(linear, source, add, unit, 0, self.count)
            self.arena.free(source)
            total = self._rows()
            yield from self._load_stream(add, total)
            return total
        total = self._rows()
        yield from self._load_stream(add, total)
        for first, count in parts(dim, self.arena.room // (2 * self.count) * self.word, unit):
            branch = self.rows("branch", self.count, count, wide=1, high=True)
            into = total.column(2 * first // self.word)
            yield from self.residual(linear, source, branch, add, into, into, self.count, count, first=first)
            self.arena.free(branch)
        self.arena.free(source)
        return total

    def _mlp(self, roles: Block, normal: Buffer) -> Generator[Task, None, Buffer]:
        """The stream + the MLP, of some rows after the others where the hidden channels of all have no room."""
        table = roles.act.function
        table_words = 0 if roles.act.quant else self.blobs[table.name].words
        row, words = self.roles.hidden // self.word, self.arena.room - table_words
        wide = 1 + is_wide(roles.act.output)
        if self.count * row <= words and self.count * row * wide <= words + normal.words:
            hidden = self.rows("hidden", self.count, self.roles.hidden)
            hidden = yield from self.expand(roles.fc1, roles.act, normal, self.count, hidden)
            return (yield from self._add(roles.fc2, hidden, roles.add2))
        unit = lcm(self.word, self.config.cols)
        for first, count in parts(self.count, words // (row * wide + 4 * unit // self.word), 1):
            hidden = self.rows("hidden", count, self.roles.hidden)
            some = normal.part(first, count)
            hidden = yield from self.expand(roles.fc1, roles.act, some, count, hidden, keep=True)
            yield from self._add_in_work(roles.fc2, hidden, roles.add2, unit, first, count)
            self.arena.free(hidden)
        self.arena.free(normal)
        total = self._rows()
        yield from self._load_stream(roles.add2, total)
        return total

    def _load_stream(self, node: Node, rows: Buffer) -> Steps:
        at, reads = self._stream_access(rows.words)
        yield self.tasks.load(node, Region.WORK, at, rows, self.count, reads)

    def _add_in_work(self, linear: Node, source: Buffer, add: Node, unit: int, row: int, rows: int) -> Steps:
        """Adds linear(source), of `rows` rows from number `row` on, `unit` channels at least at a time."""
        at = self.layout.stream(self.share.first, self.share.start) + row * self.layout.stream_words
        for first, count in parts(self.roles.dim, self.arena.room // (4 * rows) * self.word, unit):
            branch = self.rows("branch", rows, count, wide=1)
            into = self.rows("part", rows, count, wide=1)
            pattern = Pattern(
                offset=at + 2 * first // self.word, scratch=into.start, run=(into.row, 1),
                first=(rows, self.layout.stream_words, into.row),
            )  # fmt: skip
            yield self.tasks.gather(add, into, pattern)
            yield from self.residual(linear, source, branch, add, into, into, rows, count, first=first)
            yield self.tasks.scatter(add, into, pattern)
            self.arena.free(branch, into)

    # Attention

    def _enter(self, index: int, rows: Buffer) -> Steps:
        """Norms before block `index`, and Q, K and V into WORK."""
        roles, share = self.roles.blocks[index], self.share
        normal = yield from self._norms(roles.norm1, roles.norm1_quant, roles.stream1, rows)
        for each in range(share.count):
            there = self.layout.attention(share.first + each, index)
            part = normal.part(each * share.tokens, share.tokens)
            stack = [Rows(0, share.start, share.tokens, there)]
            yield from self.keys(roles.qkv, part, stack)
            yield from self.values(roles.qkv, part, stack)
        query = self.rows("query", self.count, self.roles.inner)
        yield self.tasks.linear(roles.qkv, normal, self.count, query, self.roles.inner, Kind.INT8, part="q")
        at = self.layout.query(share.first, share.start)
        yield self.tasks.store(
            roles.qkv, Region.WORK, at, query, self.count, (Access("work", at, at + query.words),)
        )  # fmt: skip
        self.arena.free(normal, query)

    def _attention(self, roles: Block, index: int) -> Generator[Task, None, Buffer]:
        """The context of all heads; heads of all texts alternate."""
        share, every, heads = self.share, self.roles.tokens, self.roles.heads
        there = [self.layout.attention(share.first + each, index) for each in range(share.count)]
        query = self.rows("query", self.count, self.roles.inner)
        at = self.layout.query(share.first, share.start)
        yield self.tasks.load(
            roles.scores, Region.WORK, at, query, self.count, (Access("work", at, at + query.words),)
        )  # fmt: skip
        context = self.rows("context", self.count, self.roles.inner, planes=is_wide(roles.context_quant), high=True)
        span = align(every, self.word) // self.word
        both = [self.arena.allocate("scores", share.tokens, span) for _ in range(2)]
        weights = self.arena.allocate("probabilities", share.tokens, span, planes=is_wide(roles.softmax))
        size = there[0].head

        def rows(buffer: Buffer, each: int) -> Buffer:
            return buffer.part(each * share.tokens, share.tokens)

        def scores(number: int) -> Steps:
            each, head = divmod(number, heads)
            yield self.tasks.scores(
                roles.scores, roles.scores_quant, head, rows(query, each).column(head * size // self.word),
                share.tokens, size // self.word, every, both[number % 2], there[each].keys(head),
                row_max=self.row_max + number % 2,
            )  # fmt: skip

        def probabilities(number: int) -> Steps:
            head, target, bank = number % heads, both[number % 2], self.row_max + number % 2
            yield self.tasks.softmax_sum(roles.softmax, head, target, share.tokens, every, self.stats, row_max=bank)
            yield self.tasks.softmax(
                roles.softmax, head, target, share.tokens, every, self.stats, weights, row_max=bank
            )  # fmt: skip

        def contexts(number: int) -> Task:
            each, head = divmod(number, heads)
            return self.tasks.context(
                roles.context, roles.context_quant, weights, head, share.tokens, size, rows(context, each),
                stream=there[each].values(head),
            )  # fmt: skip

        yield from self.alternate(range(share.count * heads), scores, probabilities, contexts)
        self.arena.free(query, *both, weights)
        return context

    # The feature

    def _leave(self, rows: Buffer) -> Steps:
        """The last norm, and those of its tokens that are summed up into WORK."""
        share = self.share
        yield from self.tasks.moments(self.roles.norm, rows, self.count, self.roles.dim, self.stats)
        yield from self._normalise_stream(self.roles.norm, rows)
        tokens = min(share.tokens, self.roles.summed - share.start)
        for each in range(share.count) if tokens > 0 else ():
            waiting, part = self.layout.token_bytes(share.first + each), rows.part(each * share.tokens, share.tokens)
            yield from store_bytes(self, self.roles.pool, part, tokens, share.start, waiting)
        self.arena.free(rows)

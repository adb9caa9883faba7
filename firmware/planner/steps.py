"""Steps that encoder blocks of every family take, in the arena of one slot.

Steps allocate and free scratchpad buffers as they go; accesses stay ordered by the tracker, so memory is reused at
once.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import lcm

from firmware.planner.allocator import Arena, Buffer
from firmware.planner.dependencies import Access
from firmware.planner.image import FACTORS
from firmware.planner.key_values import KeyValues, Transposed
from firmware.planner.mlp import Activation
from firmware.planner.scheduler import Task
from firmware.planner.spread import Part, of_a_slice, spread
from firmware.planner.tasks import Tasks
from hw.spec.isa import Kind, Region
from hw.spec.memory import align
from hw.spec.model import Node
from hw.spec.operators import PtfLayerNorm

__all__ = ["Rows", "Slot", "Steps", "Worker", "is_wide", "parts"]

Steps = Generator[Task, None, None]


def is_wide(node: Node) -> bool:
    """Whether what `node` gives has 16 bits, which a linear reads in two byte planes."""
    return node.attributes["bits"] == 16


def parts(total: int, most: int, unit: int) -> list[tuple[int, int]]:
    """[(first, count)] of equal multiples of `unit`, at most `most` (at least one unit) each, but for the last."""
    units, fit = -(-total // unit), max(1, most // unit)
    size = -(-units // -(-units // fit)) * unit
    return [(first, min(size, total - first)) for first in range(0, total, size)]


def _heads(heads: int, *, joint: bool) -> list[tuple[int, int]]:
    """(first, count) of those that one STORE takes."""
    return [(0, heads)] if joint else [(head, 1) for head in range(heads)]


@dataclass(frozen=True)
class Slot:
    """What one item at a time has for itself: scratchpad, a bank of statistics and two of row maxima."""

    arena: Arena
    bank: int

    @property
    def row_max(self) -> int:
        """The first bank of row maxima; the next is the slot's, too."""
        return 2 * self.bank


@dataclass(frozen=True)
class Rows:
    """`tokens` tokens from number `first` on, in rows of every slice from `row` on; their K and V go `to` WORK."""

    row: int
    first: int
    tokens: int
    to: KeyValues


class Worker:
    """Takes steps in `slot` with tasks that `tasks` makes."""

    def __init__(self, tasks: Tasks, slot: Slot) -> None:
        self.tasks, self.config, self.blobs = tasks, tasks.config, tasks.blobs
        self.arena, self.stats, self.row_max = slot.arena, slot.bank, slot.row_max
        self.word = tasks.config.word_bytes

    def rows(
        self, name: str, tokens: int, channels: int, *, wide: int = 0, high: bool = False, planes: bool = False
    ) -> Buffer:
        """A buffer for int8 or int16 rows of whole words, or for 16 bits in two byte `planes`."""
        return self.arena.allocate(name, tokens, channels * (1 + wide) // self.word, high=high, planes=planes)

    # Tokens and slices

    def each(self, tokens: int) -> int:
        """Rows of a buffer for `tokens` tokens: a slice has no more of them."""
        return of_a_slice(tokens, self.config.slices)

    def span(self, tokens: int) -> int:
        """Words of a row of transposed tokens, the first of which may be anywhere in a word where there are slices."""
        ends = [part.first % self.word + self.each(tokens) for part in self.spread(tokens)]
        return align(max(ends), self.word) // self.word

    def spread(self, tokens: int, first: int = 0, stop: int | None = None) -> list[Part]:
        """Who has which of `tokens` tokens, or of those from number `first` up to `stop` of them."""
        return spread(tokens, self.config.slices, first, stop)

    def load_tokens(self, node: Node, region: Region, offset: int, buffer: Buffer, parts: Iterable[Part]) -> Steps:
        """Rows of tokens, which are contiguous in memory from word `offset` on -> rows of `buffer`."""
        for part in parts:
            at, rows = offset + part.first * buffer.row, buffer.part(part.row, part.tokens)
            reads = (Access("work", at, at + part.tokens * buffer.row),) if region is Region.WORK else ()
            yield self.tasks.load(node, region, at, rows, part.tokens, reads, part.slice)

    def store_tokens(self, node: Node, at: int, buffer: Buffer, tokens: int, stop: int | None = None) -> Steps:
        """Rows of tokens, or of those before number `stop` of them -> WORK, contiguous from word `at` on."""
        for part in self.spread(tokens, 0, stop):
            first, rows = at + part.first * buffer.row, buffer.part(part.row, part.tokens)
            writes = (Access("work", first, first + part.tokens * buffer.row),)
            yield self.tasks.store(node, Region.WORK, first, rows, part.tokens, writes, part.slice)

    def store_channels(
        self, node: Node, to: Transposed, buffer: Buffer, channels: Buffer, first: int, tokens: int
    ) -> Steps:
        """Transposed tokens from number `first` on, the first of a word, rows `channels` of `buffer` -> WORK."""
        parts = self.spread(tokens)
        for part in parts:
            pattern = to.store(channels, first + part.first, part.tokens, ends=part is parts[-1])
            yield self.tasks.scatter(node, buffer, pattern, part.slice)

    # I-LayerNorm

    def parameters(self, node: Node, *, part: str = "", high: bool = False) -> Generator[Task, None, Buffer]:
        """The parameters of norm `node`, or another `part` of its constants, or the entries of a table."""
        blob = self.blobs[node.name + part]
        params = self.arena.allocate(f"of {node.op}'s constants", 1, blob.words, high=high)
        yield self.tasks.load(node, Region.MODEL, blob.offset, params, 1, ())
        return params

    def normalise(
        self, node: Node, source: Buffer, rows: int, channels: int, target: Buffer, params: Buffer | None, *,
        wide: int = 1, wide_dest: int = 0,
    ) -> Generator[Task, None, Buffer]:  # fmt: skip
        """target = norm of `rows` rows of `source`. Returns the parameters, which it loads unless they are there."""
        scaled = node.op == PtfLayerNorm.name
        if scaled:
            source, wide = (yield from self._scale(node, source, rows, channels, wide)), 1
        yield from self.tasks.moments(node, source, rows, channels, self.stats, wide=wide)
        table = params or (yield from self.parameters(node, high=True))
        yield self.tasks.layer_norm(
            node, source, rows, channels, self.stats, table, target, wide=wide, wide_dest=wide_dest
        )
        if scaled:
            self.arena.free(source)
        return table

    def fitting(self, node: Node, channels: int, wide: int) -> int:
        """Tokens of `channels` that there is room for, with what norm `node` wants for itself."""
        row, room = channels * (1 + wide) // self.word, self.arena.room
        if node.op == PtfLayerNorm.name:
            row, room = row + 2 * channels // self.word, room - self.blobs[node.name + FACTORS].words
        return room // row

    def _scale(self, node: Node, source: Buffer, rows: int, channels: int, wide: int) -> Generator[Task, None, Buffer]:
        """`rows` rows of `source` with power-of-two factors, int16."""
        factors = yield from self.parameters(node, part=FACTORS)
        scaled = self.rows("scaled", rows, channels, wide=1)
        yield self.tasks.power_factors(node, source, rows, channels, factors, scaled, wide=wide)
        self.arena.free(factors)
        return scaled

    # Attention

    def keys(
        self, node: Node, normal: Buffer, stack: Sequence[Rows], *, high: bool = False, joint: bool = False
    ) -> Steps:
        """K of the tokens of a `stack`, by as many heads at a time as there is room for.

        For `values`, the first token of each must be the first of a word. Heads have STOREs of their own, or `joint`
        ones, which are fewer and longer, where all wait for the last.
        """
        to, passes = stack[0].to, stack[0].to.head // self.word
        rows = self.stacked(stack)
        beyond = [each.row + each.to.key_rows(each.first + p.first, p.tokens) for each, p in self._shares(stack)]
        height = max(rows, *beyond)
        for head, heads in parts(to.heads, self.arena.room // (height * passes), self.whole_heads(to.head)):
            keys = self.rows("keys", height, heads * to.head, high=high)
            yield self._project(node, normal, rows, keys, "k", head, heads, to)
            for (first, count), (each, part) in product(_heads(heads, joint=joint), self._shares(stack)):
                mine = keys.part(each.row, height - each.row).column(first * passes)
                for pattern in each.to.store_keys(head + first, count, mine, each.first + part.first, part.tokens):
                    yield self.tasks.scatter(node, keys, pattern, part.slice)
            self.arena.free(keys)

    def values(
        self, node: Node, normal: Buffer, stack: Sequence[Rows], *, high: bool = False, joint: bool = False
    ) -> Steps:
        """V of the same, transposed."""
        for each in stack:
            rows = normal.part(each.row, self.each(each.tokens)) if len(stack) > 1 else normal
            yield from self._values(node, rows, each, high=high, joint=joint)

    def _values(self, node: Node, normal: Buffer, rows: Rows, *, high: bool, joint: bool) -> Steps:
        to, span = rows.to, self.span(rows.tokens)
        beyond = align(to.head, self.config.cols) - to.head  # rows of the last tile that no channel fills
        for head, heads in parts(to.heads, (self.arena.room // span - beyond) // to.head, self.whole_heads(to.head)):
            values = self.arena.allocate("values", heads * to.head + beyond, span, high=high)
            each = self.each(rows.tokens)
            yield self._project(node, normal, each, values, "v", head, heads, to, transpose=span * self.word)
            for first, count in _heads(heads, joint=joint and not beyond):
                channels = values.part(first * to.head, count * to.head + beyond)
                there = to.values_of(head + first, count)
                yield from self.store_channels(node, there, values, channels, rows.first, rows.tokens)
            self.arena.free(values)

    def stacked(self, stack: Sequence[Rows]) -> int:
        """Rows of a buffer for the tokens of all of them, one behind the other."""
        return sum(self.each(each.tokens) for each in stack)

    def _shares(self, stack: Sequence[Rows]) -> Iterator[tuple[Rows, Part]]:
        return ((each, part) for each in stack for part in self.spread(each.tokens))

    def alternate(
        self, heads: Iterable[int], scores: Callable[[int], Steps], probabilities: Callable[[int], Steps],
        context: Callable[[int], Task],
    ) -> Steps:  # fmt: skip
        """Heads alternate: the array computes the scores of one while Shiftmax works on the one before."""
        before: int | None = None
        for head in heads:
            yield from scores(head)
            if before is not None:
                yield context(before)
            yield from probabilities(head)
            before = head
        if before is not None:
            yield context(before)

    def whole_heads(self, channels: int) -> int:
        """Heads of so many channels after which a tile of weights begins."""
        return lcm(self.config.cols, channels) // channels

    def _project(
        self, node: Node, normal: Buffer, rows: int, dest: Buffer, part: str, head: int, heads: int, to: KeyValues, *,
        transpose: int = 0,
    ) -> Task:  # fmt: skip
        return self.tasks.linear(
            node,
            normal,
            rows,
            dest,
            heads * to.head,
            Kind.INT8,
            part=part,
            first=head * to.head,
            transpose=transpose,
        )

    # MLP and residual stream

    def expand(
        self, fc1: Node, act: Activation, normal: Buffer, rows: int, hidden: Buffer, *, keep: bool = False
    ) -> Generator[Task, None, Buffer]:
        """act(fc1(normal)) in `hidden`, and behind it the low plane of a wide one; `normal` is given back, or kept.

        What reads int16 has rows for them in `hidden`, and gives the half that its results leave back. ShiftGELU wants
        row maxima. A table is loaded ahead, where there is room, because LOAD queues behind weights.
        """
        width, given = hidden.row * self.word // (1 + act.wide), () if keep else (normal,)

        def activated() -> Buffer:
            return self.arena.with_low_plane(hidden) if is_wide(act.output) else hidden

        if act.wide and act.quant is not None:
            yield self.tasks.linear(fc1, normal, rows, hidden, width, Kind.INT16)
            low, rest = hidden.halves()
            yield self.tasks.int_gelu(act.function, act.quant, hidden, rows, width, low)
            self.arena.free(*given, rest)
            return low
        if act.quant is not None:
            yield self.tasks.linear(fc1, normal, rows, hidden, width, Kind.INT8, row_max=self.row_max)
            self.arena.free(*given)
            target = activated()
            yield self.tasks.gelu(act.function, act.quant, hidden, rows, width, self.row_max, target)
            return target
        ahead = self.arena.room >= self.blobs[act.function.name].words
        entries = (yield from self.parameters(act.function, high=True)) if ahead else None
        yield self.tasks.linear(fc1, normal, rows, hidden, width, Kind.INT8)
        self.arena.free(*given)
        target = activated()
        entries = entries or (yield from self.parameters(act.function, high=True))
        yield self.tasks.table(act.function, hidden, rows, width, entries, target)
        self.arena.free(entries)
        return target

    def residual(
        self, linear: Node, source: Buffer, branch: Buffer, add: Node, identity: Buffer, dest: Buffer, rows: int,
        channels: int, *, first: int = 0, wide: int = 1,
    ) -> Steps:  # fmt: skip
        """dest = linear(source) + identity in int16, by way of `branch`, of `channels` channels from `first` on.

        `wide` is whether the identity is int16, too.
        """
        yield self.tasks.linear(linear, source, rows, branch, channels, Kind.INT16, first=first)
        yield self.tasks.add(add, branch, identity, dest, rows, channels, wide=(1, wide, 1))

"""What the steps of every item share: an arena, its banks, and ways to fit a tensor into what is free there."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from math import lcm
from typing import TYPE_CHECKING

from firmware.families.swin.grid import Area, Grid, cut
from firmware.planner.allocator import Buffer
from firmware.planner.scheduler import Task
from hw.spec.isa import Kind, Region
from hw.spec.model import Node

if TYPE_CHECKING:
    from firmware.families.swin.plan import Plan

__all__ = ["Steps", "Worker", "parts"]

Steps = Generator[Task, None, None]


def parts(total: int, most: int, unit: int) -> list[tuple[int, int]]:
    """[(first, count)] of equal multiples of `unit`, at most `most` (at least one unit) each, but for the last."""
    units, fit = -(-total // unit), max(1, most // unit)
    size = -(-units // -(-units // fit)) * unit
    return [(first, min(size, total - first)) for first in range(0, total, size)]


class Worker:
    """Steps allocate and free scratchpad buffers as they go; accesses stay ordered by the tracker."""

    def __init__(self, plan: Plan, slot: int) -> None:
        self.plan, self.config, self.tasks = plan, plan.config, plan.tasks
        self.arena, self.stats = plan.arenas[slot].arena, plan.arenas[slot].bank
        self.row_max = 2 * self.stats
        self.word = plan.config.word_bytes

    def rows(self, name: str, tokens: int, channels: int, *, wide: int = 0, high: bool = False) -> Buffer:
        """A buffer for int8 or int16 rows."""
        return self.arena.allocate(name, tokens, channels * (1 + wide) // self.word, high=high)

    def gather(self, node: Node, grid: Grid, area: Area, buffer: Buffer, column: int = 0) -> Steps:
        yield self.tasks.gather(node, buffer, grid.pattern(area, buffer.start, column, buffer.row))

    def norm(
        self, node: Node, area: Area, channels: int, load: Callable[[Area, Buffer], Iterable[Task]], *,
        wide: int = 1, wide_dest: int = 0,
    ) -> Generator[Task, None, Buffer]:  # fmt: skip
        """The norm of the tokens of `area`, which `load` brings in as few pieces as there is room for."""
        normal = self.rows("normalised", area.tokens, channels, wide=wide_dest, high=True)
        blob = self.plan.blobs[node.name]
        params = self.arena.allocate("norm parameters", 1, blob.words)
        yield self.tasks.load(node, Region.MODEL, blob.offset, params, 1, ())
        done = 0
        for piece in cut(area, self.arena.room // (channels * (1 + wide) // self.word)):
            rows, count = self.rows("tokens", piece.tokens, channels, wide=wide), piece.tokens
            yield from load(piece, rows)
            target = normal.part(done, count)
            yield self.tasks.moments(node, rows, count, channels, self.stats, wide=wide)
            yield self.tasks.layer_norm(
                node, rows, count, channels, self.stats, params, target, wide=wide, wide_dest=wide_dest
            )  # fmt: skip
            self.arena.free(rows)
            done += count
        self.arena.free(params)
        return normal

    def residual(
        self, linear: Node, source: Buffer, channels: int, add: Node, before: Grid, after: Grid, area: Area
    ) -> Steps:
        """after = linear(source) + before, in as few parts of the channels as there is room for."""
        share = (2 + 1 + before.wide) * area.tokens  # words of a word's worth of channels
        most = self.arena.room // share * self.word
        for first, count in parts(channels, most, lcm(self.word, self.config.cols)):
            branch = self.rows("branch", area.tokens, count, wide=1, high=True)
            identity = self.rows("residual", area.tokens, count, wide=before.wide)
            yield from self.gather(add, before, area, identity, first * (1 + before.wide) // self.word)
            yield self.tasks.linear(linear, source, area.tokens, branch, count, Kind.INT16, first=first)
            yield self.tasks.add(add, branch, identity, branch, area.tokens, count, wide=(1, before.wide, 1))
            pattern = after.pattern(area, branch.start, 2 * first // self.word, branch.row)
            yield self.tasks.scatter(add, branch, pattern)
            self.arena.free(branch, identity)

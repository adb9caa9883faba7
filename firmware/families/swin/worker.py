"""What the steps of every item share: rectangles of grids, in as few pieces as there is room for."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from math import lcm

from firmware.families.swin.grid import Area, Grid, cut
from firmware.planner.allocator import Buffer
from firmware.planner.scheduler import Task
from firmware.planner.steps import Steps, Worker, parts
from hw.spec.model import Node

__all__ = ["GridWorker"]


class GridWorker(Worker):
    """Steps on tokens that wait in WORK as grids."""

    def gather(self, node: Node, grid: Grid, area: Area, buffer: Buffer, column: int = 0) -> Steps:
        yield self.tasks.gather(node, buffer, grid.pattern(area, buffer.start, column, buffer.row))

    def norm(
        self, node: Node, area: Area, channels: int, load: Callable[[Area, Buffer], Iterable[Task]], *, wide: int = 1
    ) -> Generator[Task, None, Buffer]:
        """The norm of the tokens of `area`, int8, which `load` brings in as few pieces as there is room for."""
        normal = self.rows("normalised", area.tokens, channels, high=True)
        params = yield from self.parameters(node)
        done = 0
        for piece in cut(area, self.arena.room // (channels * (1 + wide) // self.word)):
            rows, count = self.rows("tokens", piece.tokens, channels, wide=wide), piece.tokens
            yield from load(piece, rows)
            yield from self.normalise(node, rows, count, channels, normal.part(done, count), params, wide=wide)
            self.arena.free(rows)
            done += count
        self.arena.free(params)
        return normal

    def add_to_grid(
        self, linear: Node, source: Buffer, channels: int, add: Node, before: Grid, after: Grid, area: Area
    ) -> Steps:
        """after = linear(source) + before, in as few parts of the channels as there is room for."""
        share = (2 + 1 + before.wide) * area.tokens  # words of a word's worth of channels
        most = self.arena.room // share * self.word
        for first, count in parts(channels, most, lcm(self.word, self.config.cols)):
            branch = self.rows("branch", area.tokens, count, wide=1, high=True)
            identity = self.rows("residual", area.tokens, count, wide=before.wide)
            yield from self.gather(add, before, area, identity, first * (1 + before.wide) // self.word)
            yield from self.residual(
                linear, source, branch, add, identity, branch, area.tokens, count, first=first, wide=before.wide
            )
            pattern = after.pattern(area, branch.start, 2 * first // self.word, branch.row)
            yield self.tasks.scatter(add, branch, pattern)
            self.arena.free(branch, identity)

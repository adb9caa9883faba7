"""What the steps of every item share: rectangles of grids, in as few pieces as there is room for."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from math import lcm

from firmware.families.swin.grid import Area, Grid, cut
from firmware.planner.allocator import Buffer
from firmware.planner.scheduler import Task
from firmware.planner.steps import Steps, Worker, parts
from hw.spec.model import Node

__all__ = ["GridWorker"]


def _places(areas: Sequence[Area], buffer: Buffer) -> Iterator[tuple[Area, Buffer]]:
    """Each area with its rows of `buffer`."""
    first = 0
    for area in areas:
        yield area, buffer.part(first, area.tokens)
        first += area.tokens


class GridWorker(Worker):
    """Steps on tokens that wait in WORK as grids."""

    def gather(self, node: Node, grid: Grid, areas: Sequence[Area], buffer: Buffer, column: int = 0) -> Steps:
        """buffer = words of the tokens of `areas`, one after the other, from each token's word `column` on."""
        for area, rows in _places(areas, buffer):
            yield self.tasks.gather(node, rows, grid.pattern(area, rows.start, column, rows.row))

    def scatter(self, node: Node, grid: Grid, areas: Sequence[Area], buffer: Buffer, column: int = 0) -> Steps:
        """The other way round."""
        for area, rows in _places(areas, buffer):
            yield self.tasks.scatter(node, rows, grid.pattern(area, rows.start, column, rows.row))

    def norm(
        self, node: Node, areas: Sequence[Area], channels: int, load: Callable[[Area, Buffer], Iterable[Task]], *,
        wide: int = 1, planes: bool = False,
    ) -> Generator[Task, None, Buffer]:  # fmt: skip
        """The norm of the tokens of `areas`, which `load` brings in as few pieces as there is room for.

        They are int16 if `wide`; their norm is int8, or has 16 bits in two byte `planes`.
        """
        normal = self.rows("normalised", sum(area.tokens for area in areas), channels, high=True, planes=planes)
        params = yield from self.parameters(node)
        done = 0
        most = self.arena.room // (channels * (1 + wide) // self.word)
        for piece in (piece for area in areas for piece in cut(area, most)):
            rows, count = self.rows("tokens", piece.tokens, channels, wide=wide), piece.tokens
            yield from load(piece, rows)
            yield from self.normalise(node, rows, count, channels, normal.part(done, count), params, wide=wide)
            self.arena.free(rows)
            done += count
        self.arena.free(params)
        return normal

    def add_to_grid(
        self, linear: Node, source: Buffer, channels: int, add: Node, before: Grid, after: Grid, areas: Sequence[Area]
    ) -> Steps:
        """after = linear(source) + before, in as few parts of the channels as there is room for."""
        tokens = sum(area.tokens for area in areas)
        share = (2 + 1 + before.wide) * tokens  # words of a word's worth of channels
        most = self.arena.room // share * self.word
        for first, count in parts(channels, most, lcm(self.word, self.config.cols)):
            branch = self.rows("branch", tokens, count, wide=1, high=True)
            identity = self.rows("residual", tokens, count, wide=before.wide)
            yield from self.gather(add, before, areas, identity, first * (1 + before.wide) // self.word)
            yield from self.residual(
                linear, source, branch, add, identity, branch, tokens, count, first=first, wide=before.wide
            )
            yield from self.scatter(add, after, areas, branch, 2 * first // self.word)
            self.arena.free(branch, identity)

"""What the steps of every item share: rectangles of grids, in as few pieces as there is room for."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from math import lcm

from firmware.families.swin.grid import Area, Grid, cut
from firmware.planner.allocator import Buffer
from firmware.planner.scheduler import Task
from firmware.planner.spread import Part
from firmware.planner.steps import Steps, Worker, parts
from hw.spec.model import Node

__all__ = ["GridWorker"]


def _tokens(areas: Sequence[Area]) -> int:
    return sum(area.tokens for area in areas)


def _run(areas: Sequence[Area], first: int, count: int) -> Iterator[Area]:
    """`count` of the tokens of `areas`, one after the other, from number `first` on."""
    stop, at = first + count, 0
    for area in areas:
        begin, end = max(first - at, 0), min(stop - at, area.tokens)
        yield from area.run(begin, end - begin)
        at += area.tokens


class GridWorker(Worker):
    """Steps on tokens that wait in WORK as grids."""

    def gather(self, node: Node, grid: Grid, areas: Sequence[Area], buffer: Buffer, column: int = 0) -> Steps:
        """buffer = words of the tokens of `areas`, one after the other, from each token's word `column` on."""
        for area, rows, number in self._places(areas, buffer):
            yield self.tasks.gather(node, rows, grid.pattern(area, rows.start, column, rows.row), number)

    def scatter(self, node: Node, grid: Grid, areas: Sequence[Area], buffer: Buffer, column: int = 0) -> Steps:
        """The other way round."""
        for area, rows, number in self._places(areas, buffer):
            yield self.tasks.scatter(node, rows, grid.pattern(area, rows.start, column, rows.row), number)

    def _places(self, areas: Sequence[Area], buffer: Buffer) -> Iterator[tuple[Area, Buffer, int]]:
        """Each area, or part of one that a slice has, with its rows of `buffer`, and the slice."""
        for part in self.spread(_tokens(areas)):
            row = part.row
            for area in _run(areas, part.first, part.tokens):
                yield area, buffer.part(row, area.tokens), part.slice
                row += area.tokens

    def _pieces(self, stack: Sequence[Sequence[Area]], most: int) -> Iterator[tuple[int, list[tuple[Area, int, int]]]]:
        """(rows, what they are: (area, its first row, slice) ...) of pieces of at most `most` rows."""
        if self.config.slices == 1:
            for piece in (piece for areas in stack for area in areas for piece in cut(area, most)):
                yield piece.tokens, [(piece, 0, 0)]
            return
        places = self._stacked(stack)
        for first, rows in parts(sum(self.each(_tokens(areas)) for areas in stack), most, 1):
            found = []
            for areas, begin, part in places:
                low, high = max(part.row, first), min(part.row + part.tokens, first + rows)
                row = low - first
                for area in _run(areas, begin + low - part.row, max(0, high - low)):
                    found.append((area, row, part.slice))
                    row += area.tokens
            yield rows, found

    def _stacked(self, stack: Sequence[Sequence[Area]]) -> list[tuple[Sequence[Area], int, Part]]:
        """(areas, the first of their tokens, which slice has how many in which rows), in order of slices."""
        row, found = 0, []
        for areas in stack:
            tokens = _tokens(areas)
            found += [(areas, part.first, replace(part, row=row + part.row)) for part in self.spread(tokens)]
            row += self.each(tokens)
        return sorted(found, key=lambda place: place[2].slice)

    def norm(
        self, node: Node, stack: Sequence[Sequence[Area]], channels: int,
        load: Callable[[Area, Buffer, int], Iterable[Task]], *, wide: int = 1, planes: bool = False,
    ) -> Generator[Task, None, Buffer]:  # fmt: skip
        """The norm of the tokens of a `stack`, which `load` brings into slices, in as few pieces as there is room for.

        The tokens of each of its members are spread over the slices, in rows behind those of the one before. They are
        int16 if `wide`; their norm is int8, or has 16 bits in two byte `planes`.
        """
        rows = sum(self.each(_tokens(areas)) for areas in stack)
        normal = self.rows("normalised", rows, channels, high=True, planes=planes)
        params = yield from self.parameters(node)
        done = 0
        most = self.fitting(node, channels, wide)
        for count, found in self._pieces(stack, most):
            tokens = self.rows("tokens", count, channels, wide=wide)
            for area, row, number in found:
                yield from load(area, tokens.part(row, area.tokens), number)
            yield from self.normalise(node, tokens, count, channels, normal.part(done, count), params, wide=wide)
            self.arena.free(tokens)
            done += count
        self.arena.free(params)
        return normal

    def from_grid(self, node: Node, grid: Grid) -> Callable[[Area, Buffer, int], Iterable[Task]]:
        """What brings tokens of `grid` into a slice."""

        def load(area: Area, rows: Buffer, number: int) -> Steps:
            yield self.tasks.gather(node, rows, grid.pattern(area, rows.start, 0, rows.row), number)

        return load

    def add_to_grid(
        self, linear: Node, source: Buffer, channels: int, add: Node, before: Grid, after: Grid, areas: Sequence[Area]
    ) -> Steps:
        """after = linear(source) + before, in as few parts of the channels as there is room for."""
        tokens = self.each(_tokens(areas))
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

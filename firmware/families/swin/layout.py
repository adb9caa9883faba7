"""Where a Swin's tensors wait in the WORK region."""

from __future__ import annotations

from dataclasses import dataclass

from firmware.families.swin.grid import Grid
from firmware.families.swin.pattern import Stage, SwinTransformer
from firmware.families.swin.pooling import is_added
from firmware.families.swin.windows import Rectangle, rectangles
from firmware.planner.key_values import KeyValues, Transposed
from hw.spec.config import Config

__all__ = ["Attention", "Layout", "StageLayout"]


@dataclass(frozen=True)
class Attention:
    """A rectangle's Q, row by row, and its K and V."""

    query: int
    key_values: KeyValues


class StageLayout:
    """One image's tensors of a stage.

    The residual stream enters block b in ``streams[b % 2]`` (block 0 in ``entry``, as int8 except in the first stage),
    is in ``middle`` between its attention and its MLP, and leaves it in ``streams[(b + 1) % 2]``: so what leaves a
    block is whole until the block after the next one. Q, K and V have two places, by parity of the block.
    """

    def __init__(self, stage: Stage, config: Config, start: int, *, first: bool) -> None:
        self._stage, self._config = stage, config
        row = stage.dim // config.word_bytes
        size = stage.tokens * 2 * row
        self.streams = tuple(Grid(start + place * size, 2 * row, stage.width, 1) for place in range(2))
        self.middle = Grid(start + 2 * size, 2 * row, stage.width, 1)
        at = start + 3 * size
        self.entry = self.streams[0]
        if not first:
            self.entry = Grid(at, row, stage.width, 0)
            at += stage.tokens * row
        self.rectangles = [rectangles(stage.height, stage.width, b.side, b.shift) for b in stage.blocks]
        self._attention: list[dict[Rectangle, Attention]] = []
        bases, ends = (at, at + self._attention_words()), []
        for block, found in enumerate(self.rectangles):
            places, end = self._place(found, bases[block % 2])
            self._attention.append(places)
            ends.append(end)
        self.end = bases[1] + self._attention_words()

    def enters(self, block: int) -> Grid:
        return self.streams[block % 2] if block else self.entry

    def leaves(self, block: int) -> Grid:
        return self.streams[(block + 1) % 2]

    def attention(self, block: int, rectangle: Rectangle) -> Attention:
        return self._attention[block][rectangle]

    def _attention_words(self) -> int:
        return max(self._place(found, 0)[1] for found in self.rectangles)

    def _place(self, found: list[Rectangle], at: int) -> tuple[dict[Rectangle, Attention], int]:
        stage, places = self._stage, {}
        for rectangle in found:
            query = at
            at += rectangle.tokens * stage.inner // self._config.word_bytes
            there = KeyValues(
                config=self._config, start=at, tokens=rectangle.tokens, heads=stage.heads,
                head=stage.inner // stage.heads,
            )  # fmt: skip
            places[rectangle] = Attention(query, there)
            at += there.words
        return places, at


class Layout:
    """Every image's tensors; `pooling` is for the tokens of a last stage that has more than can be added."""

    def __init__(self, roles: SwinTransformer, config: Config, images: int) -> None:
        at, last = 0, roles.stages[-1]
        self.stages: list[list[StageLayout]] = []
        self.pooling: list[Transposed | None] = []
        for _ in range(images):
            self.stages.append([])
            for number, stage in enumerate(roles.stages):
                self.stages[-1].append(StageLayout(stage, config, at, first=number == 0))
                at = self.stages[-1][-1].end
            waiting = Transposed(config=config, start=at, tokens=last.tokens, channels=last.dim)
            added = is_added(last.tokens, config)
            self.pooling.append(None if added else waiting)
            at += 0 if added else waiting.words
        self.words = at

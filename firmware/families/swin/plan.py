"""The plan of a Swin: items, the slots they may use, and what they wait for.

Items of a block are, for each rectangle, the projection to Q, K and V and the attention, and, for each run of tokens,
the MLP. Everything between items waits in WORK (`layout`), so an item waits for nothing but those that write its
tokens, and items of one block, and of the next, interleave.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware.families.swin.block import BlockSteps
from firmware.families.swin.ends import EndSteps
from firmware.families.swin.grid import Area, cut
from firmware.families.swin.layout import Layout
from firmware.families.swin.pattern import SwinTransformer
from firmware.families.swin.pooling import Pooling
from firmware.families.swin.windows import Share, shares, stacks
from firmware.planner.allocator import Arena
from firmware.planner.image import ModelImage
from firmware.planner.placed import Job
from firmware.planner.program import Checkpoint, Layer
from firmware.planner.scheduler import Item, Scheduler, most_slots
from firmware.planner.steps import Slot, Steps, parts
from firmware.planner.tasks import Tasks
from hw.spec.memory import align, param_words

__all__ = ["Plan"]

Writers = NDArray[np.object_]  # of each token of a grid, the item that writes it


@dataclass(frozen=True)
class _Part(Slot):
    """A slot that is scratchpad words [start, stop)."""

    start: int
    stop: int

    def rivals(self, other: _Part) -> bool:
        """Whether they have something in common."""
        return self.bank == other.bank or (self.start < other.stop and other.start < self.stop)


class Plan:
    """Items for a job.

    The blocks of stage s have ``slots[s]`` equal parts of the scratchpad, the merging behind them ``merging[s]``.
    Rectangles have Q, K and V made together by as many as have ``stacks[s]`` rows of a slice, or one by one.
    """

    def __init__(
        self, job: Job, roles: SwinTransformer, image: ModelImage, slots: Sequence[int], merging: Sequence[int],
        stacks: Sequence[int],
    ) -> None:  # fmt: skip
        config = job.config
        self.model, self.roles, self.config = job.model, roles, config
        self.images, self.slots, self.merging = job.images, tuple(slots), tuple(merging)
        self.stacks = tuple(stacks)
        self.tasks = Tasks(job.model, config, job.memory, image)
        self.layout = Layout(roles, config, job.images)
        self.parts: list[_Part] = []
        self._numbers: dict[int, frozenset[int]] = {}
        self._words: dict[int, int] = {}
        for count in sorted({*slots, *merging}):
            first, size = len(self.parts), config.scratch_words // count
            for k in range(count):
                start, stop = k * size, (k + 1) * size
                self.parts.append(_Part(Arena(start, stop), k * most_slots(config) // count, start, stop))
            self._numbers[count], self._words[count] = frozenset(range(first, len(self.parts))), size

    @property
    def work_bytes(self) -> int:
        """Size of the WORK region."""
        return self.layout.words * self.config.word_bytes

    def scheduler(self, layers: dict[str, Layer]) -> Scheduler:
        """One for these slots."""
        rivals = {
            number: frozenset(k for k, other in enumerate(self.parts) if k != number and slot.rivals(other))
            for number, slot in enumerate(self.parts)
        }
        return Scheduler(len(self.parts), layers, rivals)

    def items(self) -> list[Item]:
        """All items, in the order in which they are to start if they can."""
        return [item for image in range(self.images) for item in self._image(image)]

    def trial(self, stage: int, blocks: int = 1) -> list[Item]:
        """What runs in the slots of `stage`, of the last `blocks` of its first two, all before being there."""
        writers = np.full(self.roles.stages[stage].tokens, None)
        items = list(self._embed(0, writers)) if stage == 0 else []
        end = min(2, len(self.roles.stages[stage].blocks))
        for index in range(max(0, end - blocks), end):
            items += self._block(0, stage, index, writers)
        return [*items, self._head(0, writers)] if stage == len(self.roles.stages) - 1 else items

    def merging_trial(self, stage: int) -> list[Item]:
        """Items of the merging behind `stage`, and of a block on either side of it."""
        before = self.roles.stages[stage]
        writers, following = np.full(before.tokens, None), np.full(before.tokens // 4, None)
        items = list(self._block(0, stage, len(before.blocks) - 1, writers))
        items += self._merge(0, stage, writers, following)
        return [*items, *self._block(0, stage + 1, 0, following)]

    def checkpoints(self, emitted: Mapping[Any, int]) -> tuple[Checkpoint, ...]:
        """Where the residual stream of a single image is whole in WORK: behind blocks."""
        if self.images > 1:
            return ()
        found = []
        for number, (stage, places) in enumerate(zip(self.roles.stages, self.layout.stages[0], strict=True)):
            for index, block in enumerate(stage.blocks):
                last = max(at for key, at in emitted.items() if key[:4] == (0, number, index, "mlp"))
                offset = places.leaves(index).offset * self.config.word_bytes
                found.append(Checkpoint(block.add2.name, last, offset, stage.tokens))
        return tuple(found)

    def _image(self, image: int) -> Iterator[Item]:
        roles = self.roles
        writers = np.full(roles.stages[0].tokens, None)
        yield from self._embed(image, writers)
        for number, stage in enumerate(roles.stages):
            for block in range(len(stage.blocks)):
                yield from self._block(image, number, block, writers)
            if stage.merge:
                following = np.full(stage.tokens // 4, None)
                yield from self._merge(image, number, writers, following)
                writers = following
        yield self._head(image, writers)

    def _head(self, image: int, writers: Writers) -> Item:
        last, stage = len(self.roles.stages) - 1, self.roles.stages[-1]
        before = self.layout.stages[image][last].leaves(len(self.roles.stages[last].blocks) - 1)

        def head(slot: int) -> Steps:
            pooling = Pooling(
                self.tasks, self.parts[slot], stage, self.roles.norm, self.roles.mean, before,
                self.layout.pooling[image],
            )  # fmt: skip
            return self._ends(slot).head(image, pooling)

        return Item((image, "head"), _after(writers), self._in(last), head)

    def _ends(self, slot: int) -> EndSteps:
        return EndSteps(self.tasks, self.parts[slot], self.model, self.roles)

    def _tokens(self, most: int) -> int:
        """Tokens at a time, of which a slice has room for `most`."""
        return self.config.slices * min(self.config.tokens, most)

    def _in(self, stage: int) -> frozenset[int]:
        return self._numbers[self.slots[stage]]

    def _embed(self, image: int, writers: Writers) -> Iterator[Item]:
        stage, word = self.roles.stages[0], self.config.word_bytes
        row, patch = stage.dim // word, align(self.model.image[0] * self.model.patch**2, word) // word
        words = self._words[self.slots[0]]
        # int8 tokens beside their patches, or beside the parameters and the tokens as int16
        most = min(words // (row + patch), (words - stage.dim * param_words(self.config)) // (3 * row))
        after = self.layout.stages[image][0].entry.line(stage.tokens)

        def embed(area: Area, slot: int) -> Steps:
            return self._ends(slot).embed(image, area, after)

        for first, count in parts(stage.tokens, self._tokens(most), 1):
            key, area = (image, "embed", first), Area(0, first, 1, count)
            writers[first : first + count] = _filled(key, count)
            yield Item(key, (), self._in(0), partial(embed, area))

    def _merge(self, image: int, number: int, writers: Writers, following: Writers) -> Iterator[Item]:
        stage, word = self.roles.stages[number], self.config.word_bytes
        places = self.layout.stages[image]
        before, after = places[number].leaves(len(stage.blocks) - 1), places[number + 1].entry
        # normalised rows, or one of them twice as wide, beside the parameters
        room = self._words[self.merging[number]] - 4 * stage.dim * param_words(self.config) - 8 * stage.dim // word

        def merge(area: Area, slot: int) -> Steps:
            return self._ends(slot).merge(stage, before, after, area)

        whole = Area(0, 0, stage.height // 2, stage.width // 2)
        grid = writers.reshape(whole.height, 2, whole.width, 2)
        for area in cut(whole, self._tokens(room // (4 * stage.dim // word))):
            key = (image, number, "merge", area.y, area.x)
            following.reshape(whole.height, whole.width)[area.slices] = _filled(key, area.height, area.width)
            slots = self._numbers[self.merging[number]]
            yield Item(key, _after(grid[area.slices[0], :, area.slices[1]].ravel()), slots, partial(merge, area))

    def _block(self, image: int, number: int, index: int, writers: Writers) -> Iterator[Item]:
        """A block's items: rectangles from top to bottom, MLPs as soon as all their tokens are there."""
        stage, places = self.roles.stages[number], self.layout.stages[image][number]
        grid = writers.reshape(stage.height, stage.width)
        middle = np.full(stage.tokens, None)
        runs = self.runs(number)

        def project(stack: Sequence[Share], slot: int) -> Steps:
            return BlockSteps(self.tasks, self.parts[slot], stage, places, index).project(stack)

        def attend(share: Share, slot: int) -> Steps:
            return BlockSteps(self.tasks, self.parts[slot], stage, places, index).attend(share)

        def mlp(area: Area, slot: int) -> Steps:
            return BlockSteps(self.tasks, self.parts[slot], stage, places, index).mlp(area)

        where, slots = (image, number, index), self._in(number)
        for rectangles in stacks(places.rectangles[index], self.config, self.stacks[number]):
            cut_up = [shares(rectangle, self.config) for rectangle in rectangles]
            together = [list(chain.from_iterable(cut_up))] if len(cut_up) > 1 else [[share] for share in cut_up[0]]
            projected = tuple((*where, "project", stack[0]) for stack in together)
            for key, stack in zip(projected, together, strict=True):
                after = [writer for share in stack for writer in _at(grid, share)]
                yield Item(key, _after(after), slots, partial(project, stack))
            for share in chain.from_iterable(cut_up):
                attended = (*where, "attend", share)
                yield Item(attended, projected, slots, partial(attend, share))
                for area in share.areas:
                    middle.reshape(grid.shape)[area.slices] = _filled(attended, area.height, area.width)
            while runs and all(key is not None for key in middle[runs[0][0] : sum(runs[0])]):
                first, count = runs.pop(0)
                done, area = (*where, "mlp", first), Area(0, first, 1, count)
                yield Item(done, _after(middle[first : first + count]), slots, partial(mlp, area))
                writers[first : first + count] = _filled(done, count)

    def runs(self, number: int) -> list[tuple[int, int]]:
        """(first token, tokens) of the MLPs: the rows of normalised and hidden channels must fit together."""
        stage = self.roles.stages[number]
        row = (stage.dim + stage.hidden * (1 + any(block.act.wide for block in stage.blocks))) // self.config.word_bytes
        slots, most = self.slots[number], self._tokens(self._words[self.slots[number]] // row)
        even = -(-stage.tokens // align(-(-stage.tokens // most), slots))  # every slot has as many
        return parts(stage.tokens, even if even > self.config.cols else most, 1)


def _at(grid: Writers, share: Share) -> list[Hashable]:
    """Who writes the tokens of a share."""
    return [writer for area in share.areas for writer in grid[area.slices].ravel()]


def _filled(key: Hashable, *shape: int) -> Writers:
    """An array of nothing but `key`, which may be a tuple."""
    array = np.empty(shape, object)
    for place in np.ndindex(*shape):
        array[place] = key
    return array


def _after(writers: Iterable[Hashable]) -> tuple[Hashable, ...]:
    return tuple(dict.fromkeys(key for key in writers if key is not None))

"""The plan of a BERT: super-tiles, slots, and what they wait for.

An item is (block, super-tile): attention and MLP of that block, then the next block's Q, K and V; last, an item for
each text's feature. Between items everything waits in the WORK region (`layout`).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from itertools import accumulate, pairwise

from firmware.families.bert.layout import Layout
from firmware.families.bert.pattern import Encoder
from firmware.families.bert.super_tile import Share, SuperTile
from firmware.planner.allocator import Arena
from firmware.planner.encoder import fitting, kinds
from firmware.planner.image import ModelImage
from firmware.planner.placed import Job
from firmware.planner.program import Checkpoint
from firmware.planner.scheduler import Item
from firmware.planner.steps import Slot, Steps
from firmware.planner.tasks import Tasks

__all__ = ["Plan"]


class Plan:
    """Items for a job, whose tokens are cut into `shares`, in arenas of `banks` scratchpad banks each."""

    def __init__(
        self, job: Job, roles: Encoder, image: ModelImage, shares: Sequence[Share], banks: Sequence[int]
    ) -> None:
        self.roles, self.config, self.texts, self.shares, self.image = roles, job.config, job.images, shares, image
        self.tasks = Tasks(job.model, job.config, job.memory, image)
        self.layout = Layout(roles, job.config, job.images)
        ends = [job.config.bank_words * end for end in accumulate(banks)]
        self.slots = [Slot(Arena(start, stop), bank) for bank, (start, stop) in enumerate(pairwise([0, *ends]))]

    @property
    def work_bytes(self) -> int:
        """Size of the WORK region."""
        return self.layout.words * self.config.word_bytes

    def items(self) -> list[Item]:
        """All items, those to start first in front. Raises CompileError if a super-tile fits no arena."""
        every = sorted(self.shares, key=lambda share: -share.rows)
        sizes = {(share.count, share.tokens): share for share in every}
        fitting = {size: self._fitting(share) for size, share in sizes.items()}
        of = {share: [other for other in every if other.first == share.first] for share in every}  # of the same texts
        depth, slots = len(self.roles.blocks), frozenset(range(len(self.slots)))
        items = [
            Item(
                (block, share), tuple((block - 1, other) for other in of[share]) if block >= 0 else (),
                fitting[share.count, share.tokens], partial(self._steps, block, share),
            )
            for block in range(-1, depth)
            for share in every
        ]  # fmt: skip
        features = [
            Item(
                (depth, text), tuple((depth - 1, other) for other in of[share]), slots,
                partial(self._feature, share, text),
            )
            for share in self.shares
            if not share.start
            for text in range(share.first, share.first + share.count)
        ]  # fmt: skip
        return [*items, *features]

    def checkpoints(self, emitted: Mapping[Hashable, int]) -> tuple[Checkpoint, ...]:
        """Where the residual stream of a single text is whole in WORK: before each block."""
        if self.texts > 1:
            return ()
        offset, tokens = self.layout.stream(0, 0) * self.config.word_bytes, self.roles.tokens
        return tuple(
            Checkpoint(
                block.stream1_quant.name, max(emitted[index - 1, share] for share in self.shares), offset, tokens
            )
            for index, block in enumerate(self.roles.blocks)
        )

    def _tile(self, share: Share, slot: int) -> SuperTile:
        return SuperTile(self.roles, self.layout, self.tasks, self.image, self.slots[slot], share)

    def _steps(self, block: int, share: Share, slot: int) -> Steps:
        tile = self._tile(share, slot)
        return tile.embed() if block < 0 else tile.block(block)

    def _feature(self, share: Share, text: int, slot: int) -> Steps:
        return self._tile(share, slot).feature(text)

    def _fitting(self, share: Share) -> frozenset[int]:
        """Slots whose arenas hold a super-tile like `share`."""
        blocks = kinds(self.roles.blocks)

        def walk(slot: int) -> Steps:
            for block in blocks:
                yield from self._steps(block, share, slot)
            yield from self._feature(share, share.first, slot)

        return frozenset(fitting(self.slots, ((slot,) for slot in range(len(self.slots))), walk))

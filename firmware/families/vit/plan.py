"""The plan of a ViT: super-tiles, slots, and what they wait for.

An item is (image, block, super-tile): attention and MLP of that block, then the next block's Q, K and V. Between items
everything waits in the WORK region (`layout`). Where the head reads a mean, a last item takes it of all super-tiles.
Where it reads the first tokens, the last block is computed for those only: K and V are all that others need of it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from itertools import accumulate, pairwise, product

from firmware.families.vit.layout import Layout
from firmware.families.vit.pattern import VisionTransformer
from firmware.families.vit.super_tile import Share, SuperTile
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
    """Items for a job, tokens cut into `tiles`, in arenas of `banks` scratchpad banks each.

    An arena of whole banks keeps a slot's VECTOR and STORE accesses out of the way of the array's reads of another's.
    """

    def __init__(
        self, job: Job, roles: VisionTransformer, image: ModelImage, tiles: Sequence[int], banks: Sequence[int]
    ) -> None:
        self.model, self.roles, self.config = job.model, roles, job.config
        self.images, self.tiles = job.images, tiles
        self.starts = [sum(tiles[:s]) for s in range(len(tiles))]
        streams = (roles.add, *(block.add2 for block in roles.blocks))
        self._tokens = [job.rows[node.name] for node in streams]  # that are computed, from the embedding on
        if not roles.pool:  # the head reads one slice's rows, and the others have as many
            self._tokens[-1] = min(self._tokens[-1] * job.config.slices, roles.tokens)
        self.tasks = Tasks(job.model, job.config, job.memory, image)
        self.layout = Layout(roles, job.config, job.images)
        ends = [job.config.bank_words * end for end in accumulate(banks)]
        self.slots = [Slot(Arena(start, stop), bank) for bank, (start, stop) in enumerate(pairwise([0, *ends]))]
        self._ahead: dict[tuple[int, int], bool] = {}  # (slot, tokens): there is room to load parameters early

    @property
    def work_bytes(self) -> int:
        """Size of the WORK region."""
        return self.layout.words * self.config.word_bytes

    def items(self) -> list[Item]:
        """All items, those to start first in front: a block's largest super-tiles, so that it ends with short ones.

        Raises CompileError if a super-tile fits no arena.
        """
        every = sorted(range(len(self.tiles)), key=lambda tile: -self.tiles[tile])
        there = {b: [s for s in every if self._rows(b, s)] for b in range(-1, self.roles.depth)}
        fitting = {tokens: self._fitting(self.tiles.index(tokens)) for tokens in set(self.tiles)}
        items = [
            Item(
                (i, b, s),
                tuple((i, b - 1, other) for other in there[b - 1]) if b >= 0 else (),
                fitting[self.tiles[s]],
                partial(self._steps, i, b, s),
            )
            for i in range(self.images)
            for b in range(-1, self.roles.depth)
            for s in there[b]
        ]
        if self.roles.pool:
            slots, last = self._holding_the_mean(), self.roles.depth - 1
            items += [
                Item((i, last + 1, 0), tuple((i, last, s) for s in there[last]), slots, partial(self._mean, i))
                for i in range(self.images)
            ]
        return items

    def checkpoints(self, emitted: Mapping[Hashable, int]) -> tuple[Checkpoint, ...]:
        """Where the residual stream of a single image is in WORK: between blocks, as far as the next one goes on."""
        if self.images > 1:
            return ()
        names = [self.roles.add.name, *(block.add2.name for block in self.roles.blocks[:-1])]
        offset = self.layout.residual(0, 0) * self.config.word_bytes
        return tuple(
            Checkpoint(name, max(emitted[0, b, s] for s in range(len(self.tiles))), offset, self._tokens[b + 2])
            for b, name in enumerate(names, start=-1)
        )

    def _rows(self, block: int, tile: int) -> int:
        """Tokens of a super-tile that are computed in a block: none behind the last one."""
        computed = self._tokens[block + 1] if block < self.roles.depth else 0
        return min(max(computed - self.starts[tile], 0), self.tiles[tile])

    def _steps(self, image: int, block: int, tile: int, slot: int) -> Steps:
        return self._walk(image, block, tile, slot, ahead=self._ahead[slot, self.tiles[tile]])

    def _walk(self, image: int, block: int, tile: int, slot: int, *, ahead: bool) -> Steps:
        share = Share(image, block, self.starts[tile], self._rows(block, tile), self._rows(block + 1, tile))
        return SuperTile(
            self.model, self.roles, self.layout, self.tasks, self.slots[slot], share, ahead=ahead
        ).steps()  # fmt: skip

    def _mean(self, image: int, slot: int) -> Steps:
        share = Share(image, self.roles.depth, 0, 1, 0)
        return SuperTile(
            self.model, self.roles, self.layout, self.tasks, self.slots[slot], share, ahead=False
        ).pooled()  # fmt: skip

    def _holding_the_mean(self) -> frozenset[int]:
        """Slots with room for the mean and the logits; every one of them, or CompileError is raised."""
        for slot in range(len(self.slots)):
            for _ in self._mean(0, slot):
                pass
        return frozenset(range(len(self.slots)))

    def _fitting(self, tile: int) -> frozenset[int]:
        """Slots whose arenas hold a super-tile like `tile`."""
        blocks = kinds(self.roles.blocks, lambda block: self._rows(block, tile))

        def walk(slot: int, ahead: int) -> Steps:
            for block in blocks:
                yield from self._walk(0, block, tile, slot, ahead=bool(ahead))

        found = fitting(self.slots, product(range(len(self.slots)), (False, True)), walk)
        self._ahead |= {(slot, self.tiles[tile]): bool(ahead) for slot, ahead in found.values()}
        return frozenset(found)

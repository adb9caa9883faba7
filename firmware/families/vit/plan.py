"""The plan of a ViT: super-tiles, slots, and where tensors wait between blocks.

An item is (image, block, super-tile): attention and MLP of that block, then the next block's Q, K and V. Between items
the residual stream, Q, and all of K and V wait in the WORK region; K and V lie there in weight-stream order, so that
FETCH streams them like any weight. K and V have two places, by parity of the block: while one block's are read, the
next block's are written.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from itertools import accumulate, pairwise, product

from firmware.families.vit.constants import attention_words
from firmware.families.vit.pattern import VisionTransformer
from firmware.families.vit.super_tile import Steps, SuperTile
from firmware.planner.allocator import Arena
from firmware.planner.image import ModelImage
from firmware.planner.program import Checkpoint, CompileError
from firmware.planner.scheduler import Item
from firmware.planner.tasks import Tasks
from hw.spec.config import Config
from hw.spec.memory import align
from hw.spec.model import Model

__all__ = ["Plan"]


class Plan:
    """Items for `images` images of `model`, tokens cut into `tiles`, in arenas of `banks` scratchpad banks each.

    An arena of whole banks keeps a slot's VECTOR and STORE accesses out of the way of the array's reads of another's.
    """

    def __init__(
        self, model: Model, roles: VisionTransformer, image: ModelImage, config: Config, images: int,
        tiles: Sequence[int], banks: Sequence[int],
    ) -> None:  # fmt: skip
        self.model, self.roles, self.blobs, self.config = model, roles, image.blobs, config
        self.images, self.tiles, self.slots = images, tiles, len(banks)
        self.word = config.word_bytes
        self.starts = [sum(tiles[:s]) for s in range(len(tiles))]
        self.tasks = Tasks(model, config, image)
        ends = [config.bank_words * end for end in accumulate(banks)]
        self.arenas = [Arena(start, stop) for start, stop in pairwise([0, *ends])]
        self.dim_words = roles.dim // self.word
        self.residual_words = 2 * self.dim_words
        self.key_words = align(roles.tokens, self.word) // self.word  # words of a row of scores
        self.head_dim = roles.dim // roles.heads
        self.key_words_per_head, self.value_words_per_head = attention_words(roles, config)
        self._head_words = self.key_words_per_head + self.value_words_per_head
        self._image_words = roles.tokens * (self.residual_words + self.dim_words) + 2 * roles.heads * self._head_words
        self._ahead: dict[tuple[int, int], bool] = {}  # (slot, tokens): there is room to load parameters early

    @property
    def work_bytes(self) -> int:
        """Size of the WORK region."""
        return self.images * self._image_words * self.word

    def residual_at(self, image: int, token: int) -> int:
        """Word in WORK of a residual row."""
        return image * self._image_words + token * self.residual_words

    def query_at(self, image: int, token: int) -> int:
        """Word in WORK of a row of Q."""
        return image * self._image_words + self.roles.tokens * self.residual_words + token * self.dim_words

    def attention_at(self, image: int, block: int, head: int, *, values: bool) -> int:
        """Word in WORK of a head's K, or V."""
        base = self.query_at(image, self.roles.tokens) + (block % 2) * self.roles.heads * self._head_words
        if values:
            return base + self.roles.heads * self.key_words_per_head + head * self.value_words_per_head
        return base + head * self.key_words_per_head

    def items(self) -> list[Item]:
        """All items, those to start first in front: a block's largest super-tiles, so that it ends with short ones.

        Raises CompileError if a super-tile fits no arena.
        """
        every = sorted(range(len(self.tiles)), key=lambda tile: -self.tiles[tile])
        fitting = {tokens: self._fitting(self.tiles.index(tokens)) for tokens in set(self.tiles)}
        return [
            Item(
                (i, b, s),
                tuple((i, b - 1, other) for other in every) if b >= 0 else (),
                fitting[self.tiles[s]],
                partial(self._steps, i, b, s),
            )
            for i in range(self.images)
            for b in range(-1, self.roles.depth)
            for s in every
        ]

    def checkpoints(self, emitted: Mapping[Hashable, int]) -> tuple[Checkpoint, ...]:
        """Where the residual stream of a single image is whole in WORK: between blocks."""
        if self.images > 1:
            return ()
        names = [self.roles.add.name, *(block.add2.name for block in self.roles.blocks[:-1])]
        offset = self.residual_at(0, 0) * self.word
        return tuple(
            Checkpoint(name, max(emitted[0, b, s] for s in range(len(self.tiles))), offset)
            for b, name in enumerate(names, start=-1)
        )

    def _steps(self, image: int, block: int, tile: int, slot: int) -> Steps:
        ahead = self._ahead[slot, self.tiles[tile]]
        return SuperTile(self, slot, image, block, tile, ahead=ahead).steps()

    def _fitting(self, tile: int) -> frozenset[int]:
        """Slots whose arenas hold a super-tile like `tile`; tried by walking through one of each kind of item."""
        slots = set()
        refused: CompileError | None = None
        for slot, ahead in product(range(self.slots), (False, True)):
            try:
                for block in {-1, 0, self.roles.depth - 1}:
                    for _ in SuperTile(self, slot, 0, block, tile, ahead=ahead).steps():
                        pass
            except CompileError as error:
                refused = refused or error
                self.arenas[slot].clear()
            else:
                slots.add(slot)
                self._ahead[slot, self.tiles[tile]] = ahead
        if refused and not slots:
            raise refused
        return frozenset(slots)

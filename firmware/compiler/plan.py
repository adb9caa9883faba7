"""The plan of a ViT: what each super-tile does, block by block, as tasks for the scheduler.

An item is (image, block, super-tile): attention and MLP of that block, then the next block's Q, K and V. Between items
the residual stream, Q, and all of K and V wait in the WORK region; K and V lie there in weight-stream order, so that
FETCH streams them like any weight. K and V have two places, by parity of the block: while one block's are read, the
next block's are written.
"""

from __future__ import annotations

from collections.abc import Generator, Hashable, Mapping, Sequence
from functools import partial
from itertools import accumulate, pairwise

from firmware.compiler.allocator import Arena, Buffer
from firmware.compiler.dependencies import Access
from firmware.compiler.image import ModelImage, attention_words
from firmware.compiler.pattern import Block, VisionTransformer
from firmware.compiler.program import Checkpoint, CompileError
from firmware.compiler.scheduler import Item, Stream, Task
from firmware.compiler.tasks import Tasks
from hw.spec.config import Config
from hw.spec.isa import Kind, Region
from hw.spec.memory import align
from hw.spec.model import Model, Node

__all__ = ["Plan"]

Steps = Generator[Task, None, None]


class Plan:
    """Items for `images` images of `model`, tokens cut into `tiles`, in arenas of `banks` scratchpad banks each.

    An arena of whole banks keeps a slot's VECTOR and STORE accesses out of the way of the array's reads of another's.
    """

    def __init__(
        self, model: Model, roles: VisionTransformer, image: ModelImage, config: Config, images: int,
        tiles: Sequence[int], banks: Sequence[int],
    ) -> None:  # fmt: skip
        self.model, self.roles, self.image, self.config = model, roles, image, config
        self.images, self.tiles, self.slots = images, tiles, len(banks)
        self.word = config.word_bytes
        self.starts = [sum(tiles[:s]) for s in range(len(tiles))]
        self.tasks = Tasks(model, config, image)
        ends = [config.bank_words * end for end in accumulate(banks)]
        self.arenas = [Arena(start, stop) for start, stop in pairwise([0, *ends])]
        self.dim_words = model.dim // self.word
        self.residual_words = 2 * self.dim_words
        self.key_words = align(model.tokens, self.word) // self.word  # words of a row of scores
        self.head_dim = model.dim // model.heads
        keys, values = attention_words(model, config)
        rows = model.tokens * self.dim_words
        self._work_size = 3 * rows + 2 * model.heads * (keys + values)
        self._keys, self._values = keys, values

    @property
    def work_bytes(self) -> int:
        """Size of the WORK region."""
        return self.images * self._work_size * self.word

    def items(self) -> list[Item]:
        """All items, those to start first in front: a block's largest super-tiles, so that it ends with short ones."""
        every = sorted(range(len(self.tiles)), key=lambda tile: -self.tiles[tile])
        fitting = {tokens: self._fitting(self.tiles.index(tokens)) for tokens in set(self.tiles)}
        return [
            Item(
                (i, b, s),
                tuple((i, b - 1, other) for other in every) if b >= 0 else (),
                fitting[self.tiles[s]],
                partial(self._item, i, b, s),
            )
            for i in range(self.images)
            for b in range(-1, self.model.depth)
            for s in every
        ]

    def _fitting(self, tile: int) -> frozenset[int]:
        """Slots whose arenas hold a super-tile like `tile`. Raises CompileError if there is none."""
        slots = set()
        refused: CompileError | None = None
        for slot, arena in enumerate(self.arenas):
            try:
                for block in (-1, 0, self.model.depth - 1):
                    for _ in self._item(0, block, tile, slot):
                        pass
                slots.add(slot)
            except CompileError as error:
                refused = error
                arena.clear()
        if not slots and refused:
            raise refused
        return frozenset(slots)

    def checkpoints(self, emitted: Mapping[Hashable, int]) -> tuple[Checkpoint, ...]:
        """Where the residual stream of a single image is whole in WORK: between blocks."""
        if self.images > 1:
            return ()
        names = [self.roles.add.name, *(block.add2.name for block in self.roles.blocks[:-1])]
        offset = self._residual_at(0, 0) * self.word
        return tuple(
            Checkpoint(name, max(emitted[0, b, s] for s in range(len(self.tiles))), offset)
            for b, name in enumerate(names, start=-1)
        )

    # Places in the WORK region, in words.

    def _residual_at(self, image: int, token: int) -> int:
        return image * self._work_size + token * self.residual_words

    def _query_at(self, image: int, token: int) -> int:
        return image * self._work_size + self.model.tokens * self.residual_words + token * self.dim_words

    def _attention_at(self, image: int, block: int, head: int, *, values: bool) -> int:
        base = image * self._work_size + self.model.tokens * (self.residual_words + self.dim_words)
        base += (block % 2) * self.model.heads * (self._keys + self._values)
        if values:
            return base + self.model.heads * self._keys + head * self._values
        return base + head * self._keys

    # The item.

    def _item(self, image: int, block: int, tile: int, slot: int) -> Steps:
        arena = self.arenas[slot]
        if block < 0:
            residual, params = yield from self._embed(arena, image, tile)
        else:
            roles = self.roles.blocks[block]
            context = yield from self._attention(arena, slot, image, block, tile)
            residual, before = yield from self._project(arena, roles, image, tile, context)
            params = yield from self._mlp(arena, slot, block, tile, residual, before)
        if params and block + 1 < self.model.depth:
            yield from self._next(arena, slot, image, block + 1, tile, residual, params)
        elif params:
            yield from self._head(arena, slot, image, residual, params)
        arena.free(residual)

    def _embed(self, arena: Arena, image: int, tile: int) -> Generator[Task, None, tuple[Buffer, Buffer | None]]:
        tokens, start, roles = self.tiles[tile], self.starts[tile], self.roles
        first = 1 if start == 0 else 0  # the class token has no patch
        patches = start + first - 1
        row = align(self.model.image[0] * self.model.patch**2, self.word) // self.word
        residual = arena.allocate("residual", tokens, self.residual_words, high=True)
        position = self.image.blobs[roles.position.name]
        yield self.tasks.load(
            roles.add, Region.MODEL, position.offset + start * self.residual_words, residual, tokens, ()
        )
        following = self._following_norm(-1, tile)
        params = (yield from self._norm_parameters(arena, following)) if following else None
        if tokens == first:
            return residual, params
        source = arena.allocate("patches", tokens - first, row)
        offset = (image * (self.model.tokens - 1) + patches) * row
        yield self.tasks.load(roles.embed, Region.INPUT, offset, source, tokens - first, ())
        branch = arena.allocate("branch", tokens - first, self.residual_words, high=True)
        yield self.tasks.linear(roles.embed, source, tokens - first, branch, self.model.dim, Kind.INT16)
        arena.free(source)
        yield self.tasks.add(roles.add, branch, residual, tokens - first, first)
        arena.free(branch)
        return residual, params

    def _attention(self, arena: Arena, slot: int, image: int, block: int, tile: int) -> Generator[Task, None, Buffer]:
        roles, tokens, model = self.roles.blocks[block], self.tiles[tile], self.model
        wide = roles.softmax.attributes["bits"] == 16
        planes = 2 if wide else 1
        query = arena.allocate("query", tokens, self.dim_words)
        at = self._query_at(image, self.starts[tile])
        yield self.tasks.load(roles.scores, Region.WORK, at, query, tokens, (Access("work", at, at + query.words),))
        context = arena.allocate("context", tokens, self.dim_words)
        scores = [arena.allocate("scores", tokens, self.key_words, high=True) for _ in range(min(2, model.heads))]
        probabilities = [arena.allocate("probabilities", planes * tokens, self.key_words)]
        for head in range(model.heads):
            bank = slot * 2 + head % 2
            target = scores[head % len(scores)]
            stream = self._stream(image, block, head, values=False)
            yield self.tasks.scores(roles.scores, roles.scores_quant, query, head, tokens, target, bank, stream)
            if head:
                yield self._context_task(roles, image, block, head - 1, tokens, probabilities, context)
            weights = probabilities[head % len(probabilities)]
            yield self.tasks.softmax_sum(roles.softmax, target, tokens, bank, slot)
            yield self.tasks.softmax(roles.softmax, target, tokens, bank, slot, weights)
        yield self._context_task(roles, image, block, model.heads - 1, tokens, probabilities, context)
        arena.free(query, *scores, *probabilities)
        return context

    def _context_task(
        self, roles: Block, image: int, block: int, head: int, tokens: int, weights: list[Buffer], context: Buffer
    ) -> Task:
        stream = self._stream(image, block, head, values=True)
        wide = roles.softmax.attributes["bits"] == 16
        source = weights[head % len(weights)]
        return self.tasks.context(roles.context, roles.context_quant, source, head, tokens, context, wide, stream)

    def _stream(self, image: int, block: int, head: int, *, values: bool) -> Stream:
        at = self._attention_at(image, block, head, values=values)
        words = self._values if values else self._keys
        return Stream(Region.WORK, at, words, (Access("work", at, at + words),))

    def _project(
        self, arena: Arena, roles: Block, image: int, tile: int, context: Buffer
    ) -> Generator[Task, None, tuple[Buffer, Buffer]]:
        """Residual after attention, and the parameters of the norm that follows."""
        tokens = self.tiles[tile]
        residual = arena.allocate("residual", tokens, self.residual_words, high=True)
        at = self._residual_at(image, self.starts[tile])
        access = (Access("work", at, at + residual.words),)
        yield self.tasks.load(roles.add1, Region.WORK, at, residual, tokens, access)
        params = yield from self._norm_parameters(arena, roles.norm2)
        branch = arena.allocate("branch", tokens, self.residual_words, high=True)
        yield self.tasks.linear(roles.proj, context, tokens, branch, self.model.dim, Kind.INT16)
        arena.free(context)
        yield self.tasks.add(roles.add1, branch, residual, tokens, 0)
        arena.free(branch)
        return residual, params

    def _mlp(
        self, arena: Arena, slot: int, block: int, tile: int, residual: Buffer, params: Buffer
    ) -> Generator[Task, None, Buffer | None]:
        """Leaves the block's output in `residual`. Returns the parameters of the norm that follows, if any does."""
        roles, tokens, model = self.roles.blocks[block], self.tiles[tile], self.model
        normal = arena.allocate("normalised", tokens, self.dim_words)
        yield from self._norm(arena, slot, roles.norm2, residual, tokens, params, normal)
        hidden = arena.allocate("hidden", tokens, model.hidden // self.word)
        yield self.tasks.linear(roles.fc1, normal, tokens, hidden, model.hidden, Kind.INT8, row_max=slot * 2)
        arena.free(normal)
        yield self.tasks.gelu(roles.gelu, roles.gelu_quant, hidden, tokens, slot * 2)
        following = self._following_norm(block, tile)
        branch = arena.allocate("branch", tokens, self.residual_words, high=True)
        after = (yield from self._norm_parameters(arena, following)) if following else None
        yield self.tasks.linear(roles.fc2, hidden, tokens, branch, model.dim, Kind.INT16)
        arena.free(hidden)
        yield self.tasks.add(roles.add2, branch, residual, tokens, 0)
        arena.free(branch)
        return after

    def _following_norm(self, block: int, tile: int) -> Node | None:
        """The norm that a super-tile meets after `block`: the next block's, or the last one for the class token's."""
        if block + 1 < self.model.depth:
            return self.roles.blocks[block + 1].norm1
        return self.roles.norm if tile == 0 else None

    def _norm_parameters(self, arena: Arena, node: Node) -> Generator[Task, None, Buffer]:
        """The parameter table of a norm, asked for well before it is needed: LOAD queues behind the weights."""
        blob = self.image.blobs[node.name]
        params = arena.allocate("norm parameters", 1, blob.words, high=True)
        yield self.tasks.load(node, Region.MODEL, blob.offset, params, 1, ())
        return params

    def _norm(
        self, arena: Arena, slot: int, node: Node, residual: Buffer, tokens: int, params: Buffer, target: Buffer
    ) -> Steps:
        yield self.tasks.moments(node, residual, tokens, slot)
        yield self.tasks.layer_norm(node, residual, tokens, slot, params, target)
        arena.free(params)

    def _next(
        self, arena: Arena, slot: int, image: int, block: int, tile: int, residual: Buffer, params: Buffer
    ) -> Steps:
        """Q, K and V of the next block, and everything the other super-tiles need of them, into WORK."""
        roles, tokens, start = self.roles.blocks[block], self.tiles[tile], self.starts[tile]
        normal = arena.allocate("normalised", tokens, self.dim_words)
        yield from self._norm(arena, slot, roles.norm1, residual, tokens, params, normal)
        at = self._residual_at(image, start)
        yield self.tasks.store(
            roles.norm1, Region.WORK, at, residual, tokens, (Access("work", at, at + residual.words),)
        )
        yield from self._keys_and_values(arena, image, block, tile, normal)
        query = arena.allocate("query", tokens, self.dim_words)
        yield self.tasks.linear(roles.qkv, normal, tokens, query, self.model.dim, Kind.INT8, part="q")
        at = self._query_at(image, start)
        yield self.tasks.store(roles.qkv, Region.WORK, at, query, tokens, (Access("work", at, at + query.words),))
        arena.free(normal, query)

    def _keys_and_values(self, arena: Arena, image: int, block: int, tile: int, normal: Buffer) -> Steps:
        roles, tokens, start = self.roles.blocks[block], self.tiles[tile], self.starts[tile]
        config, dim, heads, head_dim = self.config, self.model.dim, self.model.heads, self.head_dim
        cols, passes = config.cols, head_dim // self.word
        key_tiles = align(tokens, cols) // cols
        keys = arena.allocate("keys", key_tiles * cols, self.dim_words, high=True)
        yield self.tasks.linear(roles.qkv, normal, tokens, keys, dim, Kind.INT8, part="k")
        for head in range(heads):
            at = self._attention_at(image, block, head, values=False) + start * passes
            yield self.tasks.scatter(
                roles.qkv, at, keys, keys.start + head * passes,
                run=(cols, self.dim_words), first=(passes, cols, 1),
                second=(key_tiles, cols * passes, cols * self.dim_words),
            )  # fmt: skip
        span = align(tokens, self.word) // self.word  # words of a transposed row of this super-tile
        dim_tiles = align(head_dim, cols) // cols
        rows = (heads - 1) * head_dim + dim_tiles * cols
        values = arena.allocate("values", rows, span, high=True)
        yield self.tasks.linear(roles.qkv, normal, tokens, values, dim, Kind.INT8, part="v", transpose=span * self.word)
        for head in range(heads):
            at = self._attention_at(image, block, head, values=True) + (start // self.word) * cols
            yield self.tasks.scatter(
                roles.qkv, at, values, values.at(head * head_dim),
                run=(cols, span), first=(span, cols, 1), second=(dim_tiles, self.key_words * cols, cols * span),
            )  # fmt: skip
        arena.free(keys, values)

    def _head(self, arena: Arena, slot: int, image: int, residual: Buffer, params: Buffer) -> Steps:
        roles, classes = self.roles, self.model.classes
        normal = arena.allocate("normalised", 1, self.dim_words)
        yield from self._norm(arena, slot, roles.norm, residual, 1, params, normal)
        row = align(4 * classes, self.word) // self.word
        logits = arena.allocate("logits", 1, row, high=True)
        yield self.tasks.linear(roles.head, normal, 1, logits, classes, Kind.INT32)
        yield self.tasks.store(roles.head, Region.OUTPUT, image * row, logits, 1, ())
        arena.free(normal, logits)

"""Recognises the Swin graph: the operators of the patch embedding, of blocks and merging, and of the head, in order."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from firmware.families.swin.windows import mask
from firmware.planner.program import CompileError
from hw.spec.model import Model, Node

__all__ = ["Block", "Merge", "Stage", "SwinTransformer", "recognise"]

_FRONT = ("input", "patch_embed", "requantize", "layer_norm", "requantize", "requantize")
_BIASED = (
    "layer_norm", "requantize", "window_partition", "linear", "requantize", "scores", "requantize", "constant", "add",
)  # fmt: skip
_REST = (
    "shiftmax", "context", "requantize", "linear", "requantize", "window_reverse", "add", "layer_norm", "requantize",
    "linear", "requantize", "shift_gelu", "requantize", "linear", "requantize", "add",
)  # fmt: skip
_MERGE = ("merge", "layer_norm", "requantize", "linear", "requantize")
_BACK = ("layer_norm", "requantize", "mean", "requantize", "linear")


@dataclass(frozen=True)
class Block:
    """One block's nodes, in execution order, and its windows' side and shift."""

    norm1: Node
    norm1_quant: Node
    partition: Node
    qkv: Node
    qkv_quant: Node
    scores: Node
    scores_quant: Node
    bias: Node
    bias_add: Node
    softmax: Node
    context: Node
    context_quant: Node
    proj: Node
    proj_quant: Node
    reverse: Node
    add1: Node
    norm2: Node
    norm2_quant: Node
    fc1: Node
    fc1_quant: Node
    gelu: Node
    gelu_quant: Node
    fc2: Node
    fc2_quant: Node
    add2: Node

    def nodes(self) -> tuple[Node, ...]:
        """All of them."""
        return tuple(getattr(self, field.name) for field in fields(self))

    @property
    def side(self) -> int:
        return self.partition.attributes["window"]

    @property
    def shift(self) -> int:
        return self.partition.attributes["shift"]


@dataclass(frozen=True)
class Merge:
    """The nodes between two stages."""

    merge: Node
    norm: Node
    norm_quant: Node
    reduction: Node
    reduction_quant: Node


@dataclass(frozen=True)
class Stage:
    """Blocks of the same sizes, and what follows them unless they are the last."""

    height: int
    width: int
    dim: int
    heads: int
    hidden: int
    blocks: tuple[Block, ...]
    merge: Merge | None

    @property
    def tokens(self) -> int:
        return self.height * self.width


@dataclass(frozen=True)
class SwinTransformer:
    """The nodes of a model by role."""

    embed: Node
    embed_quant: Node
    embed_norm: Node
    embed_norm_quant: Node
    enter: Node
    stages: tuple[Stage, ...]
    norm: Node
    norm_quant: Node
    mean: Node
    mean_quant: Node
    head: Node


class _Nodes:
    """A model's nodes, taken one after the other."""

    def __init__(self, model: Model) -> None:
        self._nodes, self._next = model.nodes, 0

    def peek(self, ahead: int = 0) -> str:
        """The operator of the next node, or of one behind it; empty at the end."""
        place = self._next + ahead
        return self._nodes[place].op if place < len(self._nodes) else ""

    def take(self, *ops: str) -> list[Node]:
        """The next nodes. Raises CompileError, with the name of the first, unless they are `ops`."""
        for op in ops:
            if not self.peek():
                raise CompileError(f"the graph ends after {self._next} nodes where a Swin has {op}")
            node = self._nodes[self._next]
            if node.op != op:
                raise CompileError(f"node {node.name} is {node.op} where a Swin has {op}")
            self._next += 1
        return list(self._nodes[self._next - len(ops) : self._next])


def recognise(model: Model) -> SwinTransformer:
    """The roles of `model`'s nodes. Raises CompileError naming the first node that is not where a Swin has it."""
    nodes = _Nodes(model)
    _, embed, embed_quant, embed_norm, embed_norm_quant, enter = nodes.take(*_FRONT)
    _, height, width = model.image
    height, width = height // model.patch, width // model.patch
    stages: list[Stage] = []
    while nodes.peek() == "layer_norm" and not (stages and stages[-1].merge is None):
        stages.append(_stage(model, nodes, height, width))
        height, width = height // 2, width // 2
    norm, norm_quant, mean, mean_quant, head = nodes.take(*_BACK)
    if nodes.peek():
        raise CompileError(f"a Swin ends with its head, but a {nodes.peek()} follows")
    return SwinTransformer(
        embed, embed_quant, embed_norm, embed_norm_quant, enter, tuple(stages), norm, norm_quant, mean, mean_quant, head
    )  # fmt: skip


def _stage(model: Model, nodes: _Nodes, height: int, width: int) -> Stage:
    blocks: list[Block] = []
    while nodes.peek() == "layer_norm" and (not blocks or nodes.peek(2) == "window_partition"):
        blocks.append(_block(model, nodes))
    merge = Merge(*nodes.take(*_MERGE)) if nodes.peek() == "merge" else None
    sizes = {
        (len(model.tensor(b.proj, "weight")), b.scores.attributes["heads"], len(model.tensor(b.fc1, "weight")))
        for b in blocks
    }
    if len(sizes) != 1:
        raise CompileError(f"all blocks of a stage must have the same dim, heads and hidden size, not {sorted(sizes)}")
    return Stage(height, width, *sizes.pop(), tuple(blocks), merge)


def _block(model: Model, nodes: _Nodes) -> Block:
    found = nodes.take(*_BIASED)
    masks = nodes.take("constant") if nodes.peek() == "constant" else []
    block = Block(*found, *nodes.take(*_REST))
    grid = block.partition.attributes
    if block.reverse.attributes != grid:
        raise CompileError(f"{block.reverse.name} must undo {block.partition.name}, but their windows differ")
    expected = mask(grid["height"], grid["width"], block.side, block.shift)
    present = np.asarray(model.tensor(masks[0], "value")) if masks else np.zeros_like(expected)
    if present.shape != expected.shape or np.any(present != expected):
        raise CompileError(f"the mask of {block.softmax.name} must be that of windows shifted by {block.shift}")
    return block

"""Recognises the Swin graph: the operators of the patch embedding, of blocks and merging, and of the head, in order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from firmware.families.swin.windows import mask
from firmware.planner.mlp import Activation, Members, mlp
from firmware.planner.pattern import NORMS, READ, SOFTMAXES, Nodes, role
from firmware.planner.program import CompileError
from hw.spec.model import Model, Node

__all__ = ["Block", "Merge", "Stage", "SwinTransformer", "recognise"]

_FRONT = (
    role("input", "input"),
    role("embed", "patch_embed", "input", patch=READ),
    role("embed_quant", "requantize", "embed", bits=8),
    role("embed_norm", NORMS, "embed_quant", shift=READ),
    role("embed_norm_quant", "requantize", "embed_norm", bits=16),
    role("enter", "requantize", "embed_norm_quant", bits=16),
)
_GRID = {"height": "height", "width": "width"}
_WINDOWS = (
    role("norm1", NORMS, "x", shift=READ),
    role("norm1_quant", "requantize", "norm1", bits=READ),
    role("partition", "window_partition", "norm1_quant", **_GRID, window=READ, shift=READ),
)
_BIASED = (
    role("qkv", "linear", "partition"),
    role("qkv_quant", "requantize", "qkv", bits=8),
    role("scores", "scores", "qkv_quant", heads=READ, windows="windows"),
    role("scores_quant", "requantize", "scores", bits=8),
    role("bias", "constant"),
    role("bias_add", "add", "scores_quant", "bias", bits=8),
)
_MASK = (role("mask", "constant"),)
_SOFTMAX = role("softmax", SOFTMAXES, "bias_add", bits=READ)
_MASKED = role("softmax", SOFTMAXES, "bias_add", "mask", bits=READ)
_REST = (
    role("context", "context", "softmax", "qkv_quant", heads=READ, windows="windows"),
    role("context_quant", "requantize", "context", bits=READ),
    role("proj", "linear", "context_quant"),
    role("proj_quant", "requantize", "proj", bits=16),
    role("reverse", "window_reverse", "proj_quant", **_GRID, window="window", shift="shift"),
    role("add1", "add", "reverse", "x", bits=16),
)
_MERGE = (
    role("merge", "merge", "x", **_GRID),
    role("norm", NORMS, "merge", shift=READ),
    role("norm_quant", "requantize", "norm", bits=READ),
    role("reduction", "linear", "norm_quant"),
    role("reduction_quant", "requantize", "reduction", bits=8),
)
_BACK = (
    role("norm", NORMS, "x", shift=READ),
    role("norm_quant", "requantize", "norm", bits=8),
    role("mean", "mean", "norm_quant"),
    role("mean_quant", "requantize", "mean", bits=8),
    role("head", "linear", "mean_quant"),
)


@dataclass(frozen=True)
class Block(Members):
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
    act: Activation
    fc2: Node
    fc2_quant: Node
    add2: Node

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
    inner: int  # channels of all heads: of a token's Q
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


def recognise(model: Model) -> SwinTransformer:
    """The roles of `model`'s nodes. Raises CompileError naming the first node that is not where a Swin has it."""
    nodes = Nodes(model, "a Swin")
    front = nodes.take(_FRONT)
    del front["input"]
    _, height, width = model.image
    height, width, x = height // model.patch, width // model.patch, front["enter"]
    stages: list[Stage] = []
    while nodes.peek() in NORMS and not (stages and stages[-1].merge is None):
        stages.append(_stage(model, nodes, height, width, x))
        height, width = height // 2, width // 2
        x = stages[-1].merge.reduction_quant if stages[-1].merge else stages[-1].blocks[-1].add2
    back = nodes.take(_BACK, x=x)
    nodes.end()
    return SwinTransformer(stages=tuple(stages), **front, **back)


def _stage(model: Model, nodes: Nodes, height: int, width: int, x: Node) -> Stage:
    blocks: list[Block] = []
    while nodes.peek() in NORMS and (not blocks or nodes.peek(2) == "window_partition"):
        blocks.append(_block(model, nodes, height, width, x))
        x = blocks[-1].add2
    grid = {"height": height, "width": width}
    merge = Merge(**nodes.take(_MERGE, grid, x=x)) if nodes.peek() == "merge" else None
    sizes = {
        (*model.tensor(b.proj, "weight").shape, b.scores.attributes["heads"], len(model.tensor(b.fc1, "weight")))
        for b in blocks
    }
    if len(sizes) != 1:
        raise CompileError(
            "all blocks of a stage must have the same dim, channels of heads, heads and hidden size, not "
            f"{sorted(sizes)}"
        )
    dim, inner, heads, hidden = sizes.pop()
    return Stage(height, width, dim, inner, heads, hidden, tuple(blocks), merge)


def _block(model: Model, nodes: Nodes, height: int, width: int, x: Node) -> Block:
    sizes = {"height": height, "width": width}
    found = nodes.take(_WINDOWS, sizes, x=x)
    grid = found["partition"].attributes
    sizes |= {name: grid[name] for name in ("window", "shift")}
    sizes["windows"] = height * width // grid["window"] ** 2
    found |= nodes.take(_BIASED, sizes, **found)
    masks = nodes.take(_MASK) if nodes.peek() == "constant" else {}
    found |= nodes.take((_MASKED if masks else _SOFTMAX, *_REST), sizes, x=x, **found, **masks)
    block = Block(**mlp(nodes, found))
    _check_constants(model, block, height, width, masks.get("mask"))
    return block


def _check_constants(model: Model, block: Block, height: int, width: int, found: Node | None) -> None:
    """The bias is the same in every window, int8; the mask is that of the shift."""
    bias = np.asarray(model.tensor(block.bias, "value"))
    if bias.ndim != 3 or not -128 <= bias.min() <= bias.max() <= 127:
        raise CompileError(
            f"{block.bias.name} must be an int8 bias [heads, n, n], not {list(bias.shape)} from {bias.min()} to "
            f"{bias.max()}"
        )
    expected = mask(height, width, block.side, block.shift)
    present = np.zeros_like(expected) if found is None else np.asarray(model.tensor(found, "value"))
    if present.shape != expected.shape or np.any(present != expected):
        raise CompileError(f"the mask of {block.softmax.name} must be that of windows shifted by {block.shift}")

"""Recognises the ViT graph: the operators of the patch embedding, of each block and of the head, in order."""

from __future__ import annotations

from dataclasses import dataclass

from firmware.planner.encoder import EncoderBlock, sizes
from firmware.planner.mlp import Activation, mlp
from firmware.planner.pattern import NORMS, READ, SOFTMAXES, Nodes, role
from hw.spec.model import Model, Node

__all__ = ["Block", "VisionTransformer", "recognise"]

_FRONT = (
    role("input", "input"),
    role("embed", "patch_embed", "input", patch=READ),
    role("embed_quant", "requantize", "embed", bits=16),
    role("cls", "concat_cls", "embed_quant"),
    role("position", "constant"),
    role("add", "add", "cls", "position", bits=16),
)
_BLOCK = (
    role("norm1", NORMS, "x", shift=READ),
    role("norm1_quant", "requantize", "norm1", bits=READ),
    role("qkv", "linear", "norm1_quant"),
    role("qkv_quant", "requantize", "qkv", bits=8),
    role("scores", "scores", "qkv_quant", heads=READ),
    role("scores_quant", "requantize", "scores", bits=8),
    role("softmax", SOFTMAXES, "scores_quant", bits=READ),
    role("context", "context", "softmax", "qkv_quant", heads=READ),
    role("context_quant", "requantize", "context", bits=READ),
    role("proj", "linear", "context_quant"),
    role("proj_quant", "requantize", "proj", bits=16),
    role("add1", "add", "proj_quant", "x", bits=16),
)
_BACK = (
    role("norm", NORMS, "x", shift=READ),
    role("class_token", "class_token", "norm"),
    role("norm_quant", "requantize", "class_token", bits=8),
    role("head", "linear", "norm_quant"),
)
_BACK_TOKENS = (
    role("norm", NORMS, "x", shift=READ),
    role("norm_quant", "requantize", "norm", bits=8),
    role("class_token", "class_token", "norm_quant", count=READ),
    role("head", "linear", "class_token"),
)
_BACK_MEAN = (
    role("norm", NORMS, "x", shift=READ),
    role("norm_quant", "requantize", "norm", bits=8),
    role("pool", "pool", "norm_quant", first=READ),
    role("pool_quant", "requantize", "pool", bits=8),
    role("head", "linear", "pool_quant"),
)
_BACK_NORM_OF_MEAN = (
    role("pool", "pool", "x", first=READ),
    role("pool_quant", "requantize", "pool", bits=16),
    role("norm", NORMS, "pool_quant", shift=READ),
    role("norm_quant", "requantize", "norm", bits=8),
    role("head", "linear", "norm_quant"),
)


@dataclass(frozen=True)
class Block(EncoderBlock):
    """One encoder block's nodes, in execution order."""

    norm1: Node
    norm1_quant: Node
    qkv: Node
    qkv_quant: Node
    scores: Node
    scores_quant: Node
    softmax: Node
    context: Node
    context_quant: Node
    proj: Node
    proj_quant: Node
    add1: Node
    norm2: Node
    norm2_quant: Node
    fc1: Node
    fc1_quant: Node
    act: Activation
    fc2: Node
    fc2_quant: Node
    add2: Node


@dataclass(frozen=True)
class VisionTransformer:
    """The nodes of a model by role, and its sizes, which are the same in every block."""

    tokens: int  # all of them
    prefix: int  # those before the patches: the class token and registers
    dim: int
    heads: int
    inner: int  # channels of all heads: of a token's Q
    hidden: int
    embed: Node
    embed_quant: Node
    cls: Node
    position: Node
    add: Node
    blocks: tuple[Block, ...]
    norm: Node
    norm_quant: Node
    head: Node
    read: int  # tokens that the head reads, from the first on
    pool: Node | None  # of all tokens; the class token is taken where there is none
    pool_quant: Node | None

    @property
    def depth(self) -> int:
        return len(self.blocks)

    @property
    def norm_of_mean(self) -> bool:
        """Whether the mean is of the residual stream, and the last norm behind it."""
        return self.pool_quant is not None and self.norm.inputs == (self.pool_quant.name,)


def recognise(model: Model) -> VisionTransformer:
    """The roles of `model`'s nodes. Raises CompileError naming the first node that is not where a ViT has it."""
    nodes = Nodes(model, "a ViT")
    front = nodes.take(_FRONT)
    x, blocks = front["add"], []
    while nodes.peek() != "pool" and nodes.peek(1) == "requantize" and nodes.peek(2) not in {"pool", "class_token"}:
        found = nodes.take(_BLOCK, x=x)
        blocks.append(Block(**mlp(nodes, found)))
        x = blocks[-1].add2
    behind = {"pool": _BACK_MEAN, "class_token": _BACK_TOKENS}.get(nodes.peek(2), _BACK)
    back = nodes.take(_BACK_NORM_OF_MEAN if nodes.peek() == "pool" else behind, x=x)
    nodes.end()
    tokens, dim = model.tensor(front["position"], "value").shape
    heads, inner, hidden = sizes(model, blocks)
    prefix = len(model.tensor(front["cls"], "cls"))
    return VisionTransformer(
        tokens, prefix, dim, heads, inner, hidden, front["embed"], front["embed_quant"], front["cls"],
        front["position"], front["add"], tuple(blocks), back["norm"], back["norm_quant"], back["head"],
        back["class_token"].attributes.get("count", 1) if "class_token" in back else 0,
        back.get("pool"), back.get("pool_quant"),
    )  # fmt: skip

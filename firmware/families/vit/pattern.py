"""Recognises the ViT graph: the operators of the patch embedding, of each block and of the head, in order."""

from __future__ import annotations

from dataclasses import dataclass, fields

from firmware.planner.program import CompileError
from hw.spec.model import Model, Node

__all__ = ["Block", "VisionTransformer", "recognise"]

_FRONT = ("input", "patch_embed", "requantize", "concat_cls", "constant", "add")
_BLOCK = (
    "layer_norm", "requantize", "linear", "requantize", "scores", "requantize", "shiftmax", "context", "requantize",
    "linear", "requantize", "add", "layer_norm", "requantize", "linear", "requantize", "shift_gelu", "requantize",
    "linear", "requantize", "add",
)  # fmt: skip
_BACK = ("layer_norm", "class_token", "requantize", "linear")


@dataclass(frozen=True)
class Block:
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
    gelu: Node
    gelu_quant: Node
    fc2: Node
    fc2_quant: Node
    add2: Node

    def nodes(self) -> tuple[Node, ...]:
        """All of them."""
        return tuple(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True)
class VisionTransformer:
    """The nodes of a model by role, and its sizes, which are the same in every block."""

    tokens: int  # patches and the class token
    dim: int
    heads: int
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

    @property
    def depth(self) -> int:
        return len(self.blocks)


def recognise(model: Model) -> VisionTransformer:
    """The roles of `model`'s nodes. Raises CompileError naming the first node that is not where a ViT has it."""
    found = [node.op for node in model.nodes]
    depth = found.count("shiftmax")
    expected = [*_FRONT, *_BLOCK * depth, *_BACK]
    for position, op in enumerate(expected):
        if position >= len(found):
            raise CompileError(f"the graph ends after {len(found)} nodes where a ViT has {op}")
        if found[position] != op:
            raise CompileError(f"node {model.nodes[position].name} is {found[position]} where a ViT has {op}")
    if len(found) != len(expected):
        raise CompileError(f"the graph has {len(found)} nodes where a ViT of depth {depth} has {len(expected)}")
    front, back = model.nodes[: len(_FRONT)], model.nodes[-len(_BACK) :]
    body = model.nodes[len(_FRONT) : len(found) - len(_BACK)]
    blocks = tuple(Block(*body[i : i + len(_BLOCK)]) for i in range(0, len(body), len(_BLOCK)))
    embed, embed_quant, cls, embedding, add = front[1:]
    norm, _, norm_quant, head = back
    tokens, dim = model.tensor(embedding, "value").shape
    sizes = {(block.scores.attributes["heads"], len(model.tensor(block.fc1, "weight"))) for block in blocks}
    if len(sizes) != 1:
        raise CompileError(f"all blocks must have the same heads and hidden size, not {sorted(sizes)}")
    heads, hidden = sizes.pop()
    return VisionTransformer(
        tokens, dim, heads, hidden, embed, embed_quant, cls, embedding, add, blocks, norm, norm_quant, head
    )

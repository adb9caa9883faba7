"""Recognises the BERT graph: the operators of each block and of the pooling, in order."""

from __future__ import annotations

from dataclasses import dataclass

from firmware.planner.encoder import EncoderBlock, sizes
from firmware.planner.mlp import Activation, activation
from firmware.planner.pattern import READ, Nodes, role
from hw.spec.model import Model, Node
from hw.spec.operators import Pool, operation

__all__ = ["Block", "Encoder", "recognise"]

_STREAM = (
    role("norm", "layer_norm", "x"),
    role("norm_quant", "requantize", "norm", bits=16),
)
_ATTENTION = (
    role("norm1", "layer_norm", "x"),
    role("norm1_quant", "requantize", "norm1", bits=READ),
    role("stream1", "layer_norm", "x"),
    role("stream1_quant", "requantize", "stream1", bits=16),
    role("qkv", "linear", "norm1_quant"),
    role("qkv_quant", "requantize", "qkv", bits=8),
    role("scores", "scores", "qkv_quant", heads=READ),
    role("scores_quant", "requantize", "scores", bits=8),
    role("softmax", "shiftmax", "scores_quant", bits=READ),
    role("context", "context", "softmax", "qkv_quant", heads=READ),
    role("context_quant", "requantize", "context", bits=READ),
    role("proj", "linear", "context_quant"),
    role("proj_quant", "requantize", "proj", bits=16),
    role("add1", "add", "proj_quant", "stream1_quant", bits=16),
    role("norm2", "layer_norm", "add1"),
    role("norm2_quant", "requantize", "norm2", bits=READ),
    role("stream2", "layer_norm", "add1"),
    role("stream2_quant", "requantize", "stream2", bits=16),
    role("fc1", "linear", "norm2_quant"),
    role("fc1_quant", "requantize", "fc1", bits=8),
)
_MLP = (
    role("fc2", "linear", "activated"),
    role("fc2_quant", "requantize", "fc2", bits=16),
    role("add2", "add", "fc2_quant", "stream2_quant", bits=16),
)


@dataclass(frozen=True)
class Block(EncoderBlock):
    """One block's nodes, in execution order: `stream1` and `stream2` give the stream, the norms what linears read."""

    norm1: Node
    norm1_quant: Node
    stream1: Node
    stream1_quant: Node
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
    stream2: Node
    stream2_quant: Node
    fc1: Node
    fc1_quant: Node
    act: Activation
    fc2: Node
    fc2_quant: Node
    add2: Node


@dataclass(frozen=True)
class Encoder:
    """The nodes of a model by role, and its sizes, which are the same in every block."""

    tokens: int
    dim: int
    heads: int
    inner: int  # channels of all heads: of a token's Q
    hidden: int
    embedded: Node
    blocks: tuple[Block, ...]
    norm: Node
    norm_quant: Node
    pool: Node
    summed: int  # tokens that the feature is the sum of, from the first on


def recognise(model: Model) -> Encoder:
    """The roles of `model`'s nodes. Raises CompileError naming the first node that is not where a BERT has it."""
    nodes = Nodes(model, "a BERT")
    embedded = nodes.take((role("embedded", "embedded"),))["embedded"]
    x, blocks = embedded, []
    while nodes.peek(2) == "layer_norm":
        found = nodes.take(_ATTENTION, x=x)
        act = activation(nodes, found["fc1_quant"])
        behind = nodes.take(_MLP, activated=act.output, stream2_quant=found["stream2_quant"])
        blocks.append(Block(**found, act=act, **behind))
        x = blocks[-1].add2
    back = nodes.take((*_STREAM, role("pool", "pool", "norm_quant", first=0, count=READ)), x=x)
    nodes.end()
    pool = operation(back["pool"], model.tensors)
    assert isinstance(pool, Pool)
    tokens = model.image[1]
    return Encoder(
        tokens, model.image[2] // 2, *sizes(model, blocks), embedded, tuple(blocks), back["norm"], back["norm_quant"],
        back["pool"], len(pool.summed(tokens)),
    )  # fmt: skip

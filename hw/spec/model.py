"""What is run: an integer model, as a graph of operators on named integer tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ATTRIBUTES",
    "OPERATORS",
    "TENSORS",
    "Model",
    "ModelError",
    "Node",
    "Operator",
    "Value",
    "validate",
    "values",
]


class ModelError(ValueError):
    """An integer model that cannot be right; the message names the node or tensor, what is there and what should be."""


@dataclass(frozen=True)
class Operator:
    """An operator: how many inputs, which tensors and which integer attributes its nodes carry."""

    inputs: tuple[int, ...]
    tensors: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    doc: str = ""


TENSORS: dict[str, tuple[int, int]] = {
    "weight": (-128, 127),
    "bias": (-(1 << 31), (1 << 31) - 1),
    "layer_norm.bias": (-(1 << 33), (1 << 33) - 1),
    "cls": (-(1 << 31), (1 << 31) - 1),
    "value": (-(1 << 15), (1 << 15) - 1),
    "mult": (-(1 << 31), 1 << 31),
    "shift": (0, 63),
    "add.mult": (0, 1 << 31),
    "mult_identity": (0, 1 << 31),
    "shift_identity": (0, 63),
}
"""Least and largest element of every tensor, by its name or "<operator>.<name>"; any integer type may hold it."""

ATTRIBUTES: dict[str, tuple[int, ...] | range] = {
    "patch": range(1, 1 << 10),
    "bits": (8, 16),
    "heads": range(1, 1 << 10),
    "i0": range(1, 1 << 10),
    "terms": range(1, 32),
}
"""Values of every attribute."""

OPERATORS: dict[str, Operator] = {
    "input": Operator((0,), doc="image [C, H, W], int8"),
    "patch_embed": Operator(
        (1,), ("weight", "bias"), ("patch",),
        "conv, stride = kernel = patch -> tokens [n, dim] int32; weight [dim, C*patch*patch], inputs ordered C, y, x",
    ),
    "concat_cls": Operator((1,), ("cls",), (), "prepend the integer class token row [1, dim]"),
    "constant": Operator((0,), ("value",), (), "position embedding [tokens, dim] int16"),
    "linear": Operator((1,), ("weight", "bias"), (), "x @ weight.T + bias, weight [out, in] int8, bias [out] int32"),
    "requantize": Operator((1,), ("mult", "shift"), ("bits",), "dyadic, mult/shift [1] or [channels]; clamp to bits"),
    "add": Operator(
        (2,), ("mult", "shift", "mult_identity", "shift_identity"), ("bits",),
        "clamp(RNE(x*m/2^e) + RNE(identity*m1/2^e1)), mult/shift [1]; inputs (x, identity)",
    ),
    "layer_norm": Operator((1,), ("bias",), (), "I-LayerNorm of each row; bias [dim] fits 34 bits"),
    "scores": Operator((1,), (), ("heads",), "qkv [n, 3*dim], order [3][heads][d] -> Q @ K.T [heads, n, n] int32"),
    "context": Operator((2,), (), ("heads",), "(probabilities [heads, n, n], qkv) -> P @ V [n, dim] int32"),
    "shiftmax": Operator((1,), (), ("i0", "bits", "terms"), "rows of the last axis; bits 16 or 8, terms n = 15"),
    "shift_gelu": Operator((1,), (), ("i0", "terms"), "rows of the last axis; terms n = 23; int16 x*sigma"),
    "class_token": Operator((1,), (), (), "row 0 of the tokens"),
}  # fmt: skip


@dataclass(frozen=True)
class Node:
    """One operator application; its output tensor has the node's name (the official I-ViT module's name)."""

    name: str
    op: str
    inputs: tuple[str, ...] = ()
    attributes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Model:
    """An integer-only Vision Transformer: nodes in execution order, constants as ``"<node>.<tensor>"`` arrays.

    The last node's int32 output are the logits' accumulators; ``logit_scale`` [classes] turns them into the
    float logits whose argmax is the class. ``input_scale``, ``mean`` and ``std`` say how the host makes the int8 image.
    """

    name: str
    image: tuple[int, int, int]  # C, H, W
    patch: int
    dim: int
    depth: int
    heads: int
    hidden: int
    classes: int
    nodes: tuple[Node, ...]
    tensors: Mapping[str, NDArray[np.generic]]
    input_scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    logit_scale: NDArray[np.float32]
    labels: tuple[str, ...] = ()

    @property
    def tokens(self) -> int:
        """Patches plus the class token."""
        return (self.image[1] // self.patch) * (self.image[2] // self.patch) + 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image: what utilisation is measured against."""
        n, d = self.tokens, self.dim
        linear = n * (4 * d * d + 2 * d * self.hidden) + 2 * n * n * d
        return (n - 1) * self.image[0] * self.patch**2 * d + self.depth * linear + d * self.classes

    def tensor(self, node: Node, name: str) -> NDArray[np.generic]:
        """Constant `name` of `node`. Raises ModelError if the model lacks it."""
        try:
            return self.tensors[f"{node.name}.{name}"]
        except KeyError:
            raise ModelError(f"tensor {node.name}.{name} is missing") from None


@dataclass(frozen=True)
class Value:
    """What a node computes: shape without the batch, and bits of its elements as two's complement."""

    shape: tuple[int, ...]
    bits: int


def validate(model: Model) -> None:
    """Checks that `model` is well formed. Raises ModelError, in one sentence, for the first thing that is not."""
    values(model)
    known = {f"{node.name}.{name}" for node in model.nodes for name in OPERATORS[node.op].tensors}
    for name in model.tensors:
        if name not in known:
            raise ModelError(f"tensor {name} belongs to no node")
    if model.logit_scale.shape != (model.classes,) or not np.all(np.isfinite(model.logit_scale)):
        raise ModelError(f"logit_scale must be {model.classes} finite numbers")
    if not (np.isfinite(model.input_scale) and model.input_scale > 0):
        raise ModelError(f"input_scale must be a positive number, not {model.input_scale}")
    if len(model.mean) != model.image[0] or len(model.std) != model.image[0] or 0 in model.std:
        raise ModelError(f"mean and std must be {model.image[0]} numbers each, std not zero")
    if model.labels and len(model.labels) != model.classes:
        raise ModelError(f"labels must name {model.classes} classes, not {len(model.labels)}")


def values(model: Model) -> dict[str, Value]:
    """Shape and width of every node's output, by name.

    Raises ModelError for an unknown operator, a wrong attribute, input or tensor, or shapes that do not fit.
    """
    known: dict[str, Value] = {}
    for node in model.nodes:
        _check_node(model, node, known)
        value = _INFER[node.op](model, node, *(known[name] for name in node.inputs))
        _check_shapes(model, node, value)
        known[node.name] = value
    if not model.nodes or model.nodes[0].op != "input":
        raise ModelError("the first node must be the input")
    last = known[model.nodes[-1].name]
    if last != Value((model.classes,), 32):
        raise ModelError(
            f"{model.nodes[-1].name} must give {model.classes} int32 logits, not {list(last.shape)} of {last.bits} bits"
        )
    return known


def _check_node(model: Model, node: Node, known: Mapping[str, Value]) -> None:
    if node.name in known:
        raise ModelError(f"node {node.name} occurs twice")
    operator = OPERATORS.get(node.op)
    if operator is None:
        raise ModelError(f"node {node.name} has the unknown operator {node.op!r}")
    if len(node.inputs) not in operator.inputs:
        raise ModelError(f"{node.op} {node.name} must have {operator.inputs[0]} inputs, not {len(node.inputs)}")
    for name in node.inputs:
        if name not in known:
            raise ModelError(f"{node.op} {node.name} reads {name}, which no earlier node computes")
    if set(node.attributes) != set(operator.attributes):
        raise ModelError(f"{node.op} {node.name} must have attributes {list(operator.attributes)}")
    for name, number in node.attributes.items():
        allowed = ATTRIBUTES[name]
        if not isinstance(number, int) or number not in allowed:
            raise ModelError(f"{name} of {node.name} must be from {allowed[0]} to {allowed[-1]}, not {number}")
    for name in operator.tensors:
        array, key = model.tensor(node, name), f"{node.op}.{name}"
        low, high = TENSORS.get(key, TENSORS[name])
        if array.dtype.kind not in "iu":
            raise ModelError(f"tensor {node.name}.{name} must hold integers, not {array.dtype}")
        if array.size and not (low <= int(array.min()) and int(array.max()) <= high):
            raise ModelError(
                f"tensor {node.name}.{name} must be from {low} to {high}, not {int(array.min())} to {int(array.max())}"
            )


def _check_shapes(model: Model, node: Node, value: Value) -> None:
    channels = value.shape[-1]
    for name in OPERATORS[node.op].tensors:
        shape = model.tensor(node, name).shape
        wanted: tuple[tuple[int, ...], ...] = ((channels,),)
        if name.startswith(("mult", "shift")):
            wanted = ((1,), (channels,)) if node.op == "requantize" else ((1,),)
        elif name == "cls":
            wanted = ((1, channels),)
        elif name in {"weight", "value"}:
            continue  # these define the output's shape
        if shape not in wanted:
            raise ModelError(f"tensor {node.name}.{name} must have shape {list(wanted[-1])}, not {list(shape)}")
    if "mult" in OPERATORS[node.op].tensors and model.tensor(node, "mult").shape != model.tensor(node, "shift").shape:
        raise ModelError(f"mult and shift of {node.name} must have the same shape")


def _need(node: Node, value: Value, rank: int, bits: int) -> None:
    if len(value.shape) != rank or value.bits > bits:
        raise ModelError(
            f"{node.op} {node.name} needs rank {rank}, at most {bits} bits, not {list(value.shape)}, {value.bits} bits"
        )


def _product(model: Model, node: Node, depth: int) -> int:
    """Outputs of a weight matrix of the given depth, whose int32 accumulators provably do not wrap."""
    weight, bias = model.tensor(node, "weight"), model.tensor(node, "bias")
    if weight.ndim != 2 or weight.shape[1] != depth:
        raise ModelError(f"tensor {node.name}.weight must have shape [outputs, {depth}], not {list(weight.shape)}")
    if bias.shape != weight.shape[:1]:
        raise ModelError(f"tensor {node.name}.bias must have shape [{len(weight)}], not {list(bias.shape)}")
    bound = 128 * np.abs(weight.astype(np.int64)).sum(axis=1) + np.abs(bias.astype(np.int64))
    if np.any(bound >= 1 << 31):
        raise ModelError(f"accumulator {int(bound.argmax())} of {node.name} can exceed 32 bits")
    return len(weight)


def _patch_embed(model: Model, node: Node, x: Value) -> Value:
    _need(node, x, 3, 8)
    patch = node.attributes["patch"]
    channels, height, width = x.shape
    if patch != model.patch or height % patch or width % patch:
        raise ModelError(f"patch of {node.name} must be {model.patch} and divide the image {height}x{width}")
    return Value(((height // patch) * (width // patch), _product(model, node, channels * patch * patch)), 32)


def _concat_cls(model: Model, node: Node, x: Value) -> Value:
    _need(node, x, 2, 32)
    cls = model.tensor(node, "cls").astype(np.int64)
    bits = max((int(np.abs(cls).max(initial=0))).bit_length() + 1, x.bits)
    return Value((x.shape[0] + 1, x.shape[1]), bits)


def _linear(model: Model, node: Node, x: Value) -> Value:
    _need(node, x, len(x.shape), 8)
    return Value((*x.shape[:-1], _product(model, node, x.shape[-1])), 32)


def _add(_model: Model, node: Node, x: Value, identity: Value) -> Value:
    if x.shape != identity.shape:
        raise ModelError(f"add {node.name} needs equal shapes, not {list(x.shape)} and {list(identity.shape)}")
    return Value(x.shape, node.attributes["bits"])


def _layer_norm(_model: Model, node: Node, x: Value) -> Value:
    _need(node, x, 2, 16)
    return Value(x.shape, 35)


def _heads(node: Node, qkv: Value) -> tuple[int, int, int]:
    """(heads, tokens, dim) of a qkv tensor."""
    _need(node, qkv, 2, 8)
    heads = node.attributes["heads"]
    if qkv.shape[1] % (3 * heads):
        raise ModelError(f"{node.op} {node.name} cannot split {qkv.shape[1]} channels into 3 x {heads} heads")
    return heads, qkv.shape[0], qkv.shape[1] // 3


def _scores(_model: Model, node: Node, qkv: Value) -> Value:
    heads, tokens, _ = _heads(node, qkv)
    return Value((heads, tokens, tokens), 32)


def _context(_model: Model, node: Node, probabilities: Value, qkv: Value) -> Value:
    heads, tokens, dim = _heads(node, qkv)
    _need(node, probabilities, 3, 16)
    if probabilities.shape != (heads, tokens, tokens):
        raise ModelError(f"context {node.name} needs probabilities [{heads}, {tokens}, {tokens}]")
    # no wrap: a row of probabilities sums to 2^15, or to tokens * 2^9 if its exponential sum is clamped
    return Value((tokens, dim), 32)


def _shiftmax(_model: Model, node: Node, x: Value) -> Value:
    _need(node, x, 3, 8)
    return Value(x.shape, node.attributes["bits"])


def _shift_gelu(_model: Model, node: Node, x: Value) -> Value:
    _need(node, x, 2, 8)
    return Value(x.shape, 17)


def _class_token(_model: Model, node: Node, x: Value) -> Value:
    _need(node, x, 2, 64)
    return Value(x.shape[1:], x.bits)


_INFER: dict[str, Callable[..., Value]] = {
    "input": lambda model, _node: Value(model.image, 8),
    "patch_embed": _patch_embed,
    "concat_cls": _concat_cls,
    "constant": lambda model, node: Value(model.tensor(node, "value").shape, 16),
    "linear": _linear,
    "requantize": lambda _model, node, x: Value(x.shape, node.attributes["bits"]),
    "add": _add,
    "layer_norm": _layer_norm,
    "scores": _scores,
    "context": _context,
    "shiftmax": _shiftmax,
    "shift_gelu": _shift_gelu,
    "class_token": _class_token,
}

"""The operators of an integer model's graph: inputs, tensors, attributes and meaning of each, in one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["ATTRIBUTES", "OPERATORS", "TENSORS", "ModelError", "Node", "Operator", "Value"]


class ModelError(ValueError):
    """An integer model that cannot be right; the message names the node or tensor, what is there and what should be."""


@dataclass(frozen=True)
class Node:
    """One operator application; its output tensor has the node's name (the official I-ViT module's name)."""

    name: str
    op: str
    inputs: tuple[str, ...] = ()
    attributes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Value:
    """What a node computes: shape without the batch, and bits of its elements as two's complement."""

    shape: tuple[int, ...]
    bits: int


@dataclass(frozen=True)
class Operator:
    """An operator: how many inputs, which tensors and which integer attributes its nodes carry."""

    inputs: tuple[int, ...]
    tensors: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    doc: str = ""
    optional: tuple[str, ...] = ()  # attributes that a node may lack


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
    "windows": range(1, 1 << 16),
    "height": range(1, 1 << 10),
    "width": range(1, 1 << 10),
    "window": range(1, 1 << 8),
    "shift": range(1 << 8),
    "i0": range(1, 1 << 10),
    "terms": range(1, 32),
}
"""Values of every attribute."""

_GRID = ("height", "width", "window", "shift")

OPERATORS: dict[str, Operator] = {
    "input": Operator((0,), doc="image [C, H, W], int8"),
    "patch_embed": Operator(
        (1,), ("weight", "bias"), ("patch",),
        "conv, stride = kernel = patch -> tokens [n, dim] int32; weight [dim, C*patch*patch], inputs ordered C, y, x",
    ),
    "concat_cls": Operator((1,), ("cls",), (), "prepend the integer class token row [1, dim]"),
    "constant": Operator(
        (0,), ("value",), (),
        "int16: position embedding [tokens, dim], relative position bias [heads, n, n], or mask [windows, n, n] of 0/1",
    ),
    "linear": Operator((1,), ("weight", "bias"), (), "x @ weight.T + bias, weight [out, in] int8, bias [out] int32"),
    "requantize": Operator((1,), ("mult", "shift"), ("bits",), "dyadic, mult/shift [1] or [channels]; clamp to bits"),
    "add": Operator(
        (2,), ("mult", "shift", "mult_identity", "shift_identity"), ("bits",),
        "clamp(RNE(x*m/2^e) + RNE(identity*m1/2^e1)), mult/shift [1]; inputs (x, identity) of one shape, or "
        "x [windows, heads, n, n] and one identity [heads, n, n] for all windows",
    ),
    "layer_norm": Operator((1,), ("bias",), (), "I-LayerNorm of each row, int8 or int16; bias [dim] fits 34 bits"),
    "scores": Operator(
        (1,), (), ("heads",),
        "qkv [n, 3*dim], order [3][heads][d] -> Q @ K.T [heads, n, n] int32; with `windows`, qkv is "
        "[windows*n, 3*dim], each window attends to itself only -> [windows, heads, n, n]", ("windows",),
    ),
    "context": Operator(
        (2,), (), ("heads",),
        "(probabilities, qkv), shapes as of `scores` -> P @ V [n, dim] int32; with `windows` [windows*n, dim]",
        ("windows",),
    ),
    "shiftmax": Operator(
        (1, 2), (), ("i0", "bits", "terms"),
        "rows of the last axis; bits 16 or 8, terms n = 15; second input: constant mask [windows, n, n], whose ones "
        "leave the row maximum and count as I0 in the sum, in every head",
    ),
    "shift_gelu": Operator((1,), (), ("i0", "terms"), "rows of the last axis; terms n = 23; int16 x*sigma"),
    "class_token": Operator((1,), (), (), "row 0 of the tokens"),
    "window_partition": Operator(
        (1,), (), _GRID,
        "tokens [height*width, C], row-major, rolled by -shift along both axes, cut into squares of `window` -> "
        "[windows*window^2, C], windows row-major, tokens row-major in each",
    ),
    "window_reverse": Operator((1,), (), _GRID, "the inverse of window_partition with the same attributes"),
    "merge": Operator(
        (1,), (), ("height", "width"),
        "tokens [height*width, C] -> [height*width/4, 4*C]: of each 2x2 square the channels of (even row, even "
        "column), (odd, even), (even, odd), (odd, odd)",
    ),
    "mean": Operator((1,), (), (), "RNE(sum over the tokens / n): [n, C] int8 -> [C]"),
}  # fmt: skip
"""Every operator by name."""

"""What is run: an integer model, as a graph of operators on named integer tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["OPERATORS", "Model", "ModelError", "Node", "Operator"]


class ModelError(ValueError):
    """An integer model that cannot be right; the message names the node or tensor, what is there and what should be."""


@dataclass(frozen=True)
class Operator:
    """An operator: how many inputs, which tensors and which integer attributes its nodes carry."""

    inputs: tuple[int, ...]
    tensors: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    doc: str = ""


OPERATORS: dict[str, Operator] = {
    "input": Operator((0,), doc="image [C, H, W], int8"),
    "patch_embed": Operator((1,), ("weight", "bias"), ("patch",), "conv, stride = kernel = patch -> tokens [n, dim] int32"),
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

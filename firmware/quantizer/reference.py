"""The float network that is quantized: every node of the integer graph as timm computes it, in float32.

The graph is the one under construction, so whatever the integer model computes has a float value to be compared with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware.families import Family
from hw.spec.operators import OPERATORS, Constant, Node, evaluate
from hw.spec.operators.attention import split
from hw.spec.operators.patch_embed import patches

__all__ = ["Reference", "gelu", "softmax"]

Array = NDArray[Any]
f32 = np.float32
_MASK = f32(-100)
_X = np.linspace(-8, 8, (1 << 16) + 1)
_PHI = np.array([math.erfc(-x / math.sqrt(2)) / 2 for x in _X])  # linear between points is within 2e-9


def gelu(x: Array) -> Array:
    """x times the normal distribution function of x, in float32."""
    return x * np.interp(x, _X, _PHI).astype(f32)


def softmax(x: Array) -> Array:
    """Softmax of rows, in x's type."""
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


class Reference:
    """Float values of nodes; `weights` are a network of `family` under official names, `images` normalised pixels."""

    def __init__(self, weights: Mapping[str, Array], images: Array, family: Family) -> None:
        self.weights, self.images, self.family = weights, images, family
        self.values: dict[str, Array] = {}

    def _tensor(self, name: str) -> Array:
        return np.asarray(self.weights[name], f32)

    def step(self, node: Node, tensors: Mapping[str, Array]) -> Array:
        """Computes `node`; `tensors` are those of the integer graph, of which only masks are used."""
        inputs = [self.values[name] for name in node.inputs]
        if OPERATORS[node.op].moves:
            value = evaluate(tensors, node, inputs)
        elif node.op == Constant.name:
            value = self.family.constant(node.name, self.weights, tensors[f"{node.name}.value"]).astype(f32)
        elif OPERATORS[node.op].image:
            value = self.images.astype(f32)
        else:
            value = getattr(self, f"_{node.op}")(node, *inputs)
        self.values[node.name] = value
        return value

    def _affine(self, name: str, x: Array) -> Array:
        weight = self._tensor(f"{name}.weight")
        y = x @ weight.reshape(len(weight), -1).T
        return y + self._tensor(f"{name}.bias") if f"{name}.bias" in self.weights else y

    def _patch_embed(self, node: Node, x: Array) -> Array:
        return self._affine(node.name, patches(x, node.attributes["patch"]))

    def _concat_cls(self, _node: Node, x: Array) -> Array:
        cls = self._tensor("cls_token")
        cls = np.broadcast_to(cls, (len(x), *cls.shape[1:]))
        return np.concatenate([cls, x], axis=1)

    def _linear(self, node: Node, x: Array) -> Array:
        return self._affine(node.name, x)

    def _requantize(self, _node: Node, x: Array) -> Array:
        return x

    def _add(self, _node: Node, x: Array, identity: Array) -> Array:
        return x + identity

    def _layer_norm(self, node: Node, x: Array) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        deviation = np.sqrt(np.square(centred).mean(-1, keepdims=True) + f32(self.family.epsilon))
        return centred / deviation * self._tensor(f"{node.name}.weight") + self._tensor(f"{node.name}.bias")

    def _scores(self, node: Node, qkv: Array) -> Array:
        query, key, _ = split(qkv, **node.attributes)
        return query @ key.swapaxes(-1, -2) * f32(query.shape[-1] ** -0.5)

    def _context(self, node: Node, probabilities: Array, qkv: Array) -> Array:
        value = split(qkv, **node.attributes)[2]
        return (probabilities @ value).swapaxes(-2, -3).reshape(*qkv.shape[:2], -1)

    def _shiftmax(self, _node: Node, x: Array, mask: Array | None = None) -> Array:
        return softmax(x if mask is None else x + _MASK * mask[:, :, None])

    def _shift_gelu(self, _node: Node, x: Array) -> Array:
        return gelu(x)

    def _table(self, _node: Node, x: Array) -> Array:
        return gelu(x)

    def _pool(self, node: Node, x: Array) -> Array:
        return x[:, node.attributes["first"] :].mean(axis=1)

    def _mean(self, _node: Node, x: Array) -> Array:
        return x.mean(axis=1)

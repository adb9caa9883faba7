"""The float network that is quantized: every node of the integer graph as timm computes it, in float32.

The graph is the one under construction, so whatever the integer model computes has a float value to be compared with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware.families import Family
from firmware.quantizer.ragged import ended, mean_of
from hw.spec.operators import OPERATORS, Add, Constant, Node, evaluate
from hw.spec.operators.attention import split
from hw.spec.operators.patch_embed import patches

__all__ = ["Reference", "gelu", "softmax"]

Array = NDArray[Any]
f32 = np.float32
_MASK = f32(-100)
_REACH, _POINTS = 8, 1 << 12  # of the distribution function: a table from -8 to 8, so many points to 1
_PHI = np.array([math.erfc(-x / _POINTS / math.sqrt(2)) / 2 for x in range(-_REACH * _POINTS, _REACH * _POINTS + 1)])
_RISE = np.append(np.diff(_PHI), 0)
_PART = 1 << 15  # elements at a time: what they need stays in a cache


def gelu(x: Array) -> Array:
    """x times the normal distribution function of x, in float32."""
    flat = x.reshape(-1)
    parts = [_phi(flat[i : i + _PART]) for i in range(0, flat.size, _PART)]
    return x * np.concatenate([np.zeros(0, f32), *parts]).reshape(x.shape)


def _phi(x: Array) -> Array:
    """The normal distribution function, linear between the table's points: within 2e-9."""
    place = np.clip((x.astype(np.float64) + _REACH) * _POINTS, 0, len(_PHI) - 1)
    index = place.astype(np.int32)
    place -= index
    return (place * _RISE[index] + _PHI[index]).astype(f32)


def softmax(x: Array) -> Array:
    """Softmax of rows, in x's type."""
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


class Reference:
    """Float values of nodes; `weights` are a network of `family` under official names, `images` normalised pixels."""

    def __init__(self, weights: Mapping[str, Array], images: Array, family: Family) -> None:
        self.weights, self.images, self.family = weights, images, family
        self.lengths = family.lengths(images)
        self.values: dict[str, Array] = {}

    def _tensor(self, name: str) -> Array:
        return np.asarray(self.weights[name], f32)

    def step(self, node: Node, tensors: Mapping[str, Array]) -> Array:
        """Computes `node` of `values`, and keeps it there; arguments as of `compute`."""
        value = self.compute(node, tensors, [self.values[name] for name in node.inputs])
        if node.op == Add.name and node.attributes["bits"] == 16:
            self.values.clear()  # the residual stream: nothing before it is read again
        self.values[node.name] = value
        return value

    def compute(self, node: Node, tensors: Mapping[str, Array], inputs: Sequence[Array]) -> Array:
        """What `node` makes of `inputs`; `tensors` are those of the integer graph, of which only masks are used."""
        if OPERATORS[node.op].moves:
            return evaluate(tensors, node, inputs)
        if node.op == Constant.name:
            return self.family.constant(node.name, self.weights, tensors[f"{node.name}.value"]).astype(f32)
        if OPERATORS[node.op].image:
            return OPERATORS[node.op].tokens(self.images).astype(f32)
        value: Array = getattr(self, f"_{node.op}")(node, *inputs)
        return value

    def _affine(self, name: str, x: Array) -> Array:
        weight = self._tensor(f"{name}.weight")
        rows = x.reshape(-1, x.shape[-1])  # one product instead of one for each image
        y = (rows @ weight.reshape(len(weight), -1).T).reshape(*x.shape[:-1], -1)
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
        x = ended(x, self.lengths, -np.inf)
        return softmax(x if mask is None else x + _MASK * mask[:, :, None])

    def _shift_gelu(self, _node: Node, x: Array) -> Array:
        return gelu(x)

    _int_softmax = _log_int_softmax = _shiftmax  # what stands for the same function
    _int_gelu = _table = _shift_gelu
    _int_layer_norm = _l1_layer_norm = _ptf_layer_norm = _layer_norm

    def _pool(self, node: Node, x: Array) -> Array:
        return mean_of(node, x, self.lengths)

    def _mean(self, _node: Node, x: Array) -> Array:
        return x.mean(axis=1)

"""Scores of attention."""

from __future__ import annotations

import numpy as np

from hw.spec.operators.attention import Attention
from hw.spec.operators.operator import Array, Laws, Mask, Value, register

__all__ = ["Scores"]


@register
class Scores(Attention):
    """Q @ K.T of int8 qkv [n, 3*dim], ordered [3, heads, dim/heads]: [heads, n, n] int32.

    With `windows`, qkv is [windows*n, 3*dim], and the scores are [windows, heads, n, n].
    """

    name = "scores"

    def infer(self, qkv: Value) -> Value:
        return Value(self.probabilities(qkv), 32)

    def evaluate(self, laws: Laws, qkv: Array) -> Array:
        query, key, _ = self.parts(qkv)
        return laws.matmul(query, key.swapaxes(-1, -2))

    def needs(self, live: Mask, *inputs: Value) -> list[Mask]:
        found = np.zeros((1, *inputs[0].shape), bool)
        query, key, _ = self.parts(found)
        query[:], key[:] = np.any(live, axis=-1, keepdims=True), np.any(live, axis=-2, keepdims=True).swapaxes(-1, -2)
        return [found[0]]

    def macs(self, value: Value, *inputs: Value) -> int:
        return self.products(value, inputs[0])

"""Values weighted by attention."""

from __future__ import annotations

import numpy as np

from hw.spec.operators.attention import Attention
from hw.spec.operators.operator import Array, Laws, Mask, ModelError, Value, register

__all__ = ["Context"]


@register
class Context(Attention):
    """P @ V of (probabilities, qkv), shapes as of `scores`: [n, dim] int32, with `windows` [windows*n, dim].

    It does not wrap: a row of probabilities sums up to 2^15, or to n * 2^9 if its sum of exponentials is clamped.
    """

    name = "context"
    inputs = (2,)
    law_channels = False  # the law's last axis is a head's

    def infer(self, probabilities: Value, qkv: Value) -> Value:
        shape = self.probabilities(qkv)
        self.need(probabilities, len(shape), 16)
        if probabilities.shape != shape:
            raise ModelError(f"{self} needs probabilities {list(shape)}, not {list(probabilities.shape)}")
        return Value((qkv.shape[0], qkv.shape[1] // 3), 32)

    def evaluate(self, laws: Laws, probabilities: Array, qkv: Array) -> Array:
        _, _, value = self.parts(qkv)
        out = laws.matmul(probabilities, value).swapaxes(-2, -3)  # [B, windows, n, heads, d]
        return out.reshape(*qkv.shape[:2], -1)

    def needs(self, live: Mask, *inputs: Value) -> list[Mask]:
        probabilities, qkv = inputs
        *windows, heads, n, _ = probabilities.shape
        parts = live.reshape(*windows, n, heads, -1).swapaxes(-2, -3)
        found = np.zeros((1, *qkv.shape), bool)
        _, _, value = self.parts(found)
        value[:] = parts.any(axis=-2, keepdims=True)
        return [np.broadcast_to(parts.any(axis=-1, keepdims=True), probabilities.shape), found[0]]

    def macs(self, _value: Value, *inputs: Value) -> int:
        return self.products(*inputs)

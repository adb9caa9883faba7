"""I-LayerNorm."""

from __future__ import annotations

from typing import ClassVar

from hw.spec.operators.operator import CHANNELS, Array, Laws, Operator, Tensor, Value, register

__all__ = ["LayerNorm"]


@register
class LayerNorm(Operator):
    """I-LayerNorm of each token of int8 or int16 [n, dim], or of one [dim], plus a bias: 35 bits.

    Gains are in the factors behind it.
    """

    name = "layer_norm"
    local = 1
    constants: ClassVar[tuple[Tensor, ...]] = (Tensor("bias", -(1 << 33), (1 << 33) - 1, CHANNELS, "34 bits"),)
    law = "layer_norm"

    def infer(self, x: Value) -> Value:
        self.need(x, 1 if len(x.shape) == 1 else 2, 16)
        return Value(x.shape, 35)

    def evaluate(self, laws: Laws, x: Array) -> Array:
        return laws.layer_norm(x, self.tensor("bias"))

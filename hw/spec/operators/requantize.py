"""Requantization."""

from __future__ import annotations

from hw.spec.operators.dyadic import ONE_CHANNELS_OR_HEADS, factor
from hw.spec.operators.operator import Array, Attribute, Laws, ModelError, Operator, Value, register

__all__ = ["Requantize"]


@register
class Requantize(Operator):
    """clamp(RNE(x * mult / 2^shift)) to `bits`, by one factor, one per channel of the last axis, or one per head."""

    name = "requantize"
    local = 0
    attributes = (Attribute("bits", (8, 16), "width of the output"),)
    constants = factor(shape=ONE_CHANNELS_OR_HEADS, signed=True)
    quantizes = True
    law = "requantize"

    def infer(self, x: Value) -> Value:
        if self.tensor("mult").shape != self.tensor("shift").shape:
            raise ModelError(f"mult and shift of {self.node.name} must have the same shape")
        return Value(x.shape, self["bits"])

    def evaluate(self, laws: Laws, x: Array) -> Array:
        return laws.requantize(x, self.tensor("mult"), self.tensor("shift"), self["bits"])

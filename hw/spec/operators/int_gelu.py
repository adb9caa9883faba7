"""GELU of I-BERT."""

from __future__ import annotations

from hw.spec import rivals
from hw.spec.operators.operator import Array, Attribute, Laws, Operator, Value, register

__all__ = ["IntGelu"]


@register
class IntGelu(Operator):
    """I-BERT's IntGELU of int16 [n, hidden], with the opposite sign, so that its scale is positive; 35 bits.

    Of int8 it is what the official code gives, whose polynomial hardly has a bit left there.
    """

    name = "int_gelu"
    local = 0
    attributes = (
        Attribute("b", range(1 << 15), "floor(1.769 * sqrt 2 / scale of the input)"),
        Attribute("c", range(1 << 31), "floor(2 / (0.2888 * scale^2))"),
    )

    def infer(self, x: Value) -> Value:
        self.need(x, 2, 16)
        return Value(x.shape, 35)

    def evaluate(self, _laws: Laws, x: Array) -> Array:
        return rivals.int_gelu(x, self["b"], self["c"])

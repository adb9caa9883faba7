"""Constants of the graph."""

from __future__ import annotations

from hw.spec.operators.operator import Array, Laws, Operator, Tensor, Value, register

__all__ = ["Constant"]


@register
class Constant(Operator):
    """An int16 constant that other nodes read, the same for every image.

    It is a position embedding [tokens, dim], a relative position bias [heads, n, n], or a mask [windows, n, n] of 0, 1.
    """

    name = "constant"
    inputs = (0,)
    constants = (Tensor("value", -(1 << 15), (1 << 15) - 1, "the output's", "int16"),)

    def infer(self) -> Value:
        return Value(self.tensor("value").shape, 16)

    def evaluate(self, _laws: Laws) -> Array:
        return self.tensor("value")[None]

"""Sums over tokens."""

from __future__ import annotations

from hw.spec.operators.operator import Array, Attribute, Laws, ModelError, Operator, Value, register

__all__ = ["Pool"]


@register
class Pool(Operator):
    """The sum of the tokens [n, C] int8 from `first` on: [C] int32. The mean is its scale's matter."""

    name = "pool"
    attributes = (Attribute("first", range(1 << 16), "tokens that are passed over: those before the patches"),)

    def infer(self, x: Value) -> Value:
        self.need(x, 2, 8)
        if self["first"] >= x.shape[0]:
            raise ModelError(f"first of {self.node.name} must be below the {x.shape[0]} tokens, not {self['first']}")
        return Value(x.shape[1:], 32)

    def evaluate(self, _laws: Laws, x: Array) -> Array:
        return x[:, self["first"] :].sum(axis=1, dtype="int64")

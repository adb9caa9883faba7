"""Sums over tokens."""

from __future__ import annotations

from hw.spec.operators.operator import Array, Attribute, Laws, ModelError, Operator, Value, register

__all__ = ["Pool"]


@register
class Pool(Operator):
    """The sum of the tokens [n, C] int8 or int16 from `first` on: [C] int32. The mean is its scale's matter.

    Of int16 there are at most 65,535 tokens, whose sum cannot wrap.
    """

    name = "pool"
    attributes = (Attribute("first", range(1 << 16), "tokens that are passed over: those before the patches"),)

    def infer(self, x: Value) -> Value:
        self.need(x, 2, 16)
        if self["first"] >= x.shape[0]:
            raise ModelError(f"first of {self.node.name} must be below the {x.shape[0]} tokens, not {self['first']}")
        if (count := x.shape[0] - self["first"]) >> (32 - x.bits):
            raise ModelError(f"{self} of {count} tokens of {x.bits} bits may exceed int32")
        return Value(x.shape[1:], 32)

    def evaluate(self, _laws: Laws, x: Array) -> Array:
        return x[:, self["first"] :].sum(axis=1, dtype="int64")

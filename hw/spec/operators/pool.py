"""Sums over tokens."""

from __future__ import annotations

from hw.spec.operators.operator import Array, Attribute, Laws, ModelError, Operator, Value, register

__all__ = ["Pool"]


@register
class Pool(Operator):
    """The sum of the tokens [n, C] int8 or int16 from `first` on: [C] int32. The mean is its scale's matter.

    Of int16 there are at most 65,535 tokens, whose sum cannot wrap. With `count` it is of so many tokens only.
    """

    name = "pool"
    attributes = (
        Attribute("first", range(1 << 16), "tokens that are passed over: those before the patches"),
        Attribute("count", range(1, 1 << 16), "tokens that are summed up, all the others unless given", optional=True),
    )

    def infer(self, x: Value) -> Value:
        self.need(x, 2, 16)
        if self["first"] >= x.shape[0]:
            raise ModelError(f"first of {self.node.name} must be below the {x.shape[0]} tokens, not {self['first']}")
        count = len(self.summed(x.shape[0]))
        if count < self.node.attributes.get("count", 1):
            raise ModelError(f"count of {self.node.name} must be at most {count} of {x.shape[0]} tokens")
        if count >> (32 - x.bits):
            raise ModelError(f"{self} of {count} tokens of {x.bits} bits may exceed int32")
        return Value(x.shape[1:], 32)

    def summed(self, tokens: int) -> range:
        """Numbers of those of `tokens` tokens that are summed up."""
        return range(tokens)[self["first"] :][: self.node.attributes.get("count")]

    def evaluate(self, _laws: Laws, x: Array) -> Array:
        summed = self.summed(x.shape[1])
        return x[:, summed.start : summed.stop].sum(axis=1, dtype="int64")

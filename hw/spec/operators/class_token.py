"""The class token of the last block."""

from __future__ import annotations

from hw.spec.operators.operator import Array, Attribute, Laws, ModelError, Operator, Value, register

__all__ = ["ClassToken"]


@register
class ClassToken(Operator):
    """Row 0 of the tokens [n, dim]: [dim]; or the first `count` rows one after the other: [count * dim]."""

    name = "class_token"
    attributes = (Attribute("count", range(1, 257), "rows that are taken, 1 unless it is given", optional=True),)
    moves = True

    @property
    def _count(self) -> int:
        return self.node.attributes.get("count", 1)

    def infer(self, x: Value) -> Value:
        self.need(x, 2, 64)
        if self._count > x.shape[0]:
            raise ModelError(f"count of {self.node.name} must be at most the {x.shape[0]} tokens, not {self._count}")
        return Value((self._count * x.shape[1],), x.bits)

    def evaluate(self, _laws: Laws, x: Array) -> Array:
        return x[:, : self._count].reshape(len(x), -1)

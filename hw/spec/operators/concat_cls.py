"""The class token before the patches."""

from __future__ import annotations

import numpy as np

from hw.spec.operators.operator import Array, Laws, Operator, Shape, Tensor, Value, register

__all__ = ["ConcatCls"]


@register
class ConcatCls(Operator):
    """Tokens [n, dim] with the integer class token before them: [n + 1, dim], as wide as the wider of the two."""

    name = "concat_cls"
    constants = (
        Tensor(
            "cls",
            -(1 << 31),
            (1 << 31) - 1,
            Shape("[1, dim]", lambda value: ((1, value.shape[-1]),)),
            "the class token",
        ),
    )

    def infer(self, x: Value) -> Value:
        self.need(x, 2, 32)
        cls = self.tensor("cls").astype(np.int64)
        bits = max((int(np.abs(cls).max(initial=0))).bit_length() + 1, x.bits)
        return Value((x.shape[0] + 1, x.shape[1]), bits)

    def evaluate(self, _laws: Laws, x: Array) -> Array:
        cls = np.broadcast_to(self.tensor("cls"), (len(x), 1, x.shape[2]))
        return np.concatenate([cls, x], axis=1, dtype=np.result_type(cls, x, np.int32))

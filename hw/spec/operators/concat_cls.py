"""The class token, and registers, before the patches."""

from __future__ import annotations

import numpy as np

from hw.spec.operators.operator import Array, Laws, ModelError, Operator, Tensor, Value, register

__all__ = ["ConcatCls"]


@register
class ConcatCls(Operator):
    """Tokens [n, dim] with integer ones before them, the class token first: [n + prefix, dim], as wide as the wider."""

    name = "concat_cls"
    constants = (
        Tensor(
            "cls",
            -(1 << 31),
            (1 << 31) - 1,
            "[prefix, dim]",
            "the class token, and registers behind it",
        ),
    )

    def infer(self, x: Value) -> Value:
        self.need(x, 2, 32)
        cls = self.tensor("cls").astype(np.int64)
        if cls.ndim != 2 or not len(cls) or cls.shape[1] != x.shape[1]:
            raise ModelError(
                f"tensor {self.node.name}.cls must have shape [prefix, {x.shape[1]}], not {list(cls.shape)}"
            )
        bits = max((int(np.abs(cls).max(initial=0))).bit_length() + 1, x.bits)
        return Value((x.shape[0] + len(cls), x.shape[1]), bits)

    def evaluate(self, _laws: Laws, x: Array) -> Array:
        cls = self.tensor("cls")
        cls = np.broadcast_to(cls, (len(x), *cls.shape))
        return np.concatenate([cls, x], axis=1, dtype=np.result_type(cls, x, np.int32))

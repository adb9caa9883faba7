"""Linear layers."""

from __future__ import annotations

from hw.spec.operators.operator import Array, Laws, Tensor, Value, register
from hw.spec.operators.weights import BIAS, Weighted

__all__ = ["Linear"]


@register
class Linear(Weighted):
    """x @ weight.T + bias of the last axis of int8 or int16 x; int32, which no input can exceed.

    The array multiplies bytes: an input of 16 bits is two planes, x = 256*high + low, in two passes.
    """

    name = "linear"
    local = 1
    constants = (Tensor("weight", -128, 127, "[outputs, inputs]", "int8"), BIAS)

    def infer(self, x: Value) -> Value:
        self.need(x, len(x.shape), 16)
        return Value((*x.shape[:-1], self.outputs(x.shape[-1], max(x.bits, 8))), 32)

    def evaluate(self, laws: Laws, x: Array) -> Array:
        return laws.linear(x, self.tensor("weight"), self.tensor("bias"))

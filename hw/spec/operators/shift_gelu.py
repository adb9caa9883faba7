"""ShiftGELU."""

from __future__ import annotations

from hw.spec.arith import GELU_TERMS
from hw.spec.operators.operator import Array, Attribute, Laws, Operator, Value, register

__all__ = ["ShiftGelu"]


@register
class ShiftGelu(Operator):
    """ShiftGELU of int8 [n, hidden]: x times sigma, whose exponentials are relative to the token's maximum; 17 bits."""

    name = "shift_gelu"
    local = 1
    attributes = (
        Attribute("i0", range(1, 1 << 10), "ceil(1 / (1.702 * scale of the input))"),
        Attribute("terms", (GELU_TERMS,), "n of the exponential: what it clamps is 2^-n of the maximum's"),
    )
    law = "shift_gelu"

    def infer(self, x: Value) -> Value:
        self.need(x, 2, 8)
        return Value(x.shape, 17)

    def evaluate(self, laws: Laws, x: Array) -> Array:
        return laws.shift_gelu(x, self["i0"], self["terms"])

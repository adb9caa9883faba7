"""Addition of tensors with scales of their own."""

from __future__ import annotations

from hw.spec.operators.dyadic import factor
from hw.spec.operators.operator import Array, Attribute, Laws, ModelError, Operator, Value, register

__all__ = ["Add"]


@register
class Add(Operator):
    """clamp(RNE(x * mult / 2^shift) + RNE(identity * mult_identity / 2^shift_identity)) to `bits`.

    Inputs are (x, identity), of one shape, or x [windows, heads, n, n] and one identity [heads, n, n] for all windows.
    """

    name = "add"
    local = 0
    inputs = (2,)
    attributes = (Attribute("bits", (8, 16), "width of the output"),)
    constants = (*factor(), *factor("_identity"))
    quantizes = True
    law = "requantize"

    def infer(self, x: Value, identity: Value) -> Value:
        per_window = len(x.shape) == 4 and x.shape[1:] == identity.shape
        if x.shape != identity.shape and not per_window:
            raise ModelError(f"{self} needs equal shapes, not {list(x.shape)} and {list(identity.shape)}")
        return Value(x.shape, self["bits"])

    def evaluate(self, laws: Laws, x: Array, identity: Array) -> Array:
        return laws.requantize(
            x, self.tensor("mult"), self.tensor("shift"), self["bits"], identity=identity,
            mult_identity=self.tensor("mult_identity"), shift_identity=self.tensor("shift_identity"),
        )  # fmt: skip

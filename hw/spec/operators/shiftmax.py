"""Shiftmax."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from hw.spec.arith import SOFTMAX_TERMS
from hw.spec.operators.dyadic import ONE_OR_HEADS
from hw.spec.operators.operator import Array, Attribute, Laws, ModelError, Operator, Tensor, Value, register

__all__ = ["Shiftmax"]


@register
class Shiftmax(Operator):
    """Shiftmax of the last axis of int8 scores [heads, n, n] or [windows, heads, n, n]: probabilities of `bits` bits.

    With f = ``fraction`` bits behind the point, differences d << f follow scores of any scale; f = 0 is I-ViT's law.
    A second input is a constant mask [windows, n, n] of 0 and 1: where it is 1, the row maximum ignores the score, and
    the sum counts it as i0, in every head.
    """

    name = "shiftmax"
    local = 1
    inputs = (1, 2)
    attributes: ClassVar[tuple[Attribute, ...]] = (
        Attribute("bits", (8, 16), "width of the probabilities, whose scale is 2^(1-bits)"),
        Attribute("terms", (SOFTMAX_TERMS,), "n of the exponential: what it clamps is 2^-n of the maximum's"),
    )
    constants: ClassVar[tuple[Tensor, ...]] = (
        Tensor("i0", 1, (1 << 10) - 1, ONE_OR_HEADS, "ceil(2^fraction / scale of the scores)"),
        Tensor("fraction", 0, 7, ONE_OR_HEADS, "bits behind the point of the scores' differences"),
    )
    law = "shiftmax"

    def infer(self, x: Value, mask: Value | None = None) -> Value:
        self.need(x, 4 if len(x.shape) == 4 else 3, 8)
        if mask is not None:
            self._check_mask(x, mask)
        return Value(x.shape, self["bits"])

    def _check_mask(self, x: Value, mask: Value) -> None:
        about, values = f"the mask of {self}", self.tensors.get(f"{self.node.inputs[1]}.value")
        if values is None or np.any((values != 0) & (values != 1)):
            raise ModelError(f"{about} must be a constant of 0 and 1")
        if len(x.shape) != 4 or mask.shape != (x.shape[0], *x.shape[2:]):
            raise ModelError(
                f"{about} must have shape [windows, n, n] of its scores {list(x.shape)}, not {list(mask.shape)}"
            )
        if np.any(values.all(axis=-1)):
            raise ModelError(f"{about} must leave something of every row")

    def evaluate(self, laws: Laws, x: Array, mask: Array | None = None) -> Array:
        if mask is not None:
            mask = mask[:, :, None]  # the same for every head
        i0, fraction = self.tensor("i0"), self.tensor("fraction")
        return laws.shiftmax(x, i0, self["bits"], self["terms"], mask, fraction=fraction)

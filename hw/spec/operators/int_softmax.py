"""Softmax of I-BERT."""

from __future__ import annotations

import numpy as np

from hw.spec import rivals
from hw.spec.operators.dyadic import ONE_OR_HEADS
from hw.spec.operators.operator import Array, Attribute, Laws, ModelError, Tensor, Value, register
from hw.spec.operators.shiftmax import Shiftmax

__all__ = ["EXPONENT", "IntSoftmax"]

EXPONENT = (
    Tensor("ln2", 1, (1 << 8) - 1, ONE_OR_HEADS, "floor(ln 2 / scale), the scale that of differences"),
    Tensor("b", 0, (1 << 10) - 1, ONE_OR_HEADS, "floor(2.707 / scale), of the polynomial (x + b) * x + c"),
    Tensor("c", 0, (1 << 18) - 1, ONE_OR_HEADS, "floor(2.792 / scale^2)"),
    Tensor("fraction", 0, 7, ONE_OR_HEADS, "bits behind the point of the scores' differences"),
)
"""Constants of I-BERT's exponential."""


@register
class IntSoftmax(Shiftmax):
    """I-BERT's IntSoftmax of int8 scores [heads, n, n] or [windows, heads, n, n]: probabilities of 8 bits, scale 2^-8.

    They reach 256: 16 `bits` hold them as they are, 8 after a division by 2^halve, rounded and clamped. A second input
    is a mask as of `shiftmax`: where it is 1, there is no score.
    """

    name = "int_softmax"
    attributes = (Attribute("bits", (8, 16), "width of the probabilities, whose scale is 2^(halve - 8)"),)
    constants = (
        *EXPONENT,
        Tensor("exp_mult", 0, (1 << 31) - 1, ONE_OR_HEADS, "mantissa of what gives exponentials 16 bits"),
        Tensor("exp_shift", 0, 31, ONE_OR_HEADS, "exponent of it, less 30"),
        Tensor("halve", 0, 1, ONE_OR_HEADS, "bits that probabilities lose, 0 where they have 16"),
    )
    law = ""

    def infer(self, x: Value, mask: Value | None = None) -> Value:
        if self["bits"] == 16 and np.any(self.tensor("halve")):
            raise ModelError(f"tensor {self.node.name}.halve must be 0 where probabilities have 16 bits")
        return super().infer(x, mask)

    def evaluate(self, _laws: Laws, x: Array, mask: Array | None = None) -> Array:
        if mask is not None:
            mask = mask[:, :, None]  # the same for every head
        constants = {name: self.tensor(name).astype(np.int64) for name in (tensor.name for tensor in self.constants)}
        return rivals.int_softmax(x, **constants, bits=self["bits"], mask=mask)

"""Softmax of FQ-ViT."""

from __future__ import annotations

import numpy as np

from hw.spec import rivals
from hw.spec.operators.dyadic import ONE_OR_HEADS
from hw.spec.operators.int_softmax import EXPONENT
from hw.spec.operators.operator import Array, Attribute, Laws, Tensor, register
from hw.spec.operators.shiftmax import Shiftmax

__all__ = ["LogIntSoftmax"]


@register
class LogIntSoftmax(Shiftmax):
    """FQ-ViT's Log-Int-Softmax of int8 scores [heads, n, n] or [windows, heads, n, n]: 2^-code, codes of 4 bits, or 0.

    Powers of two of `bits` bits times 2^(bits - 1 + offset), clamped: what an array multiplies V by to shift it. A
    second input is a mask as of `shiftmax`: where it is 1, there is no score.
    """

    name = "log_int_softmax"
    attributes = (Attribute("bits", (8, 16), "width of the probabilities, whose scale is 2^(1 - bits - offset)"),)
    constants = (*EXPONENT, Tensor("offset", 0, 15, ONE_OR_HEADS, "binary places that probabilities are scaled up by"))
    law = ""

    def evaluate(self, _laws: Laws, x: Array, mask: Array | None = None) -> Array:
        if mask is not None:
            mask = mask[:, :, None]  # the same for every head
        constants = {name: self.tensor(name).astype(np.int64) for name in (tensor.name for tensor in self.constants)}
        return rivals.log_softmax(x, **constants, bits=self["bits"], mask=mask)

"""LayerNorm of I-BERT."""

from __future__ import annotations

from hw.spec import rivals
from hw.spec.operators.layer_norm import LayerNorm
from hw.spec.operators.operator import Array, Attribute, Laws, register

__all__ = ["IntLayerNorm"]


@register
class IntLayerNorm(LayerNorm):
    """I-BERT's IntLayerNorm of each token of int8 or int16 [n, dim], or of one [dim], plus a bias: 35 bits.

    Its root is exact; its scale and its bias are those of `layer_norm`.
    """

    name = "int_layer_norm"
    attributes = (Attribute("shift", range(8), "bits that differences lose before they are squared"),)
    law = ""

    def evaluate(self, _laws: Laws, x: Array) -> Array:
        return rivals.int_layer_norm(x, self.tensor("bias"), self["shift"])

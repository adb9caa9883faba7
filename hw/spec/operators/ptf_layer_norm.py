"""I-LayerNorm behind power-of-two factors."""

from __future__ import annotations

from hw.spec import rivals
from hw.spec.operators.layer_norm import LayerNorm
from hw.spec.operators.operator import CHANNELS, Array, Attribute, Laws, Tensor, register

__all__ = ["PtfLayerNorm"]


@register
class PtfLayerNorm(LayerNorm):
    """I-LayerNorm of each token of int8 or int16 [n, dim], or of one [dim], in 8 bits with FQ-ViT's factors: 35 bits.

    An element becomes clamp(RNE(x / 2^(shift + a))) in 8 bits, shifted left by a, the exponent of its channel. Scale
    and bias are those of `layer_norm`.
    """

    name = "ptf_layer_norm"
    attributes = (Attribute("shift", range(8), "bits that the finest code loses"),)
    constants = (
        *LayerNorm.constants,
        Tensor("exponents", 0, rivals.FACTOR_EXPONENTS - 1, CHANNELS, "factors are 2^a"),
    )

    def evaluate(self, laws: Laws, x: Array) -> Array:
        return laws.layer_norm(rivals.ptf_input(x, self.tensor("exponents"), self["shift"]), self.tensor("bias"))

"""LayerNorm by distances."""

from __future__ import annotations

from hw.spec import rivals
from hw.spec.operators.layer_norm import LayerNorm
from hw.spec.operators.operator import Array, Laws, register

__all__ = ["L1LayerNorm"]


@register
class L1LayerNorm(LayerNorm):
    """Fully-8bit's L1 LayerNorm of each token of int8 or int16 [n, dim], or of one [dim], plus a bias: 35 bits.

    The deviation is sqrt(pi/2) times the mean distance from the mean; gains and that root are in the factors behind it.
    """

    name = "l1_layer_norm"
    law = ""

    def evaluate(self, _laws: Laws, x: Array) -> Array:
        return rivals.l1_layer_norm(x, self.tensor("bias"))

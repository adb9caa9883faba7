"""Import of the official I-ViT layout: from scales and integer weights to an integer model, the only floats there are.

The steps are those of the official modules, one float32 rounding each where those round, so that every dyadic
factor, I0 and bias equals the official one bit for bit. Activation scales come from the state; the quantizers'
ranges, which official checkpoints do not store, are not needed.
"""

from firmware.graph.constants import dyadic, gelu_i0, norm_bias, norm_scale, softmax_i0
from firmware.ivit.convert import model_from_state

__all__ = ["dyadic", "gelu_i0", "model_from_state", "norm_bias", "norm_scale", "softmax_i0"]

"""Quantization that uses every freedom of the integer graph which costs the device nothing.

I-ViT has one scale per activation tensor and no zero points. The device has more: every requantizer behind a linear
or a LayerNorm has a factor per channel, scores and context are computed head by head with the factors of the moment,
biases are integers before requantization, and a table is any function of a byte. So, at the same 8 bits:

- a LayerNorm's outputs are centred and scaled channel by channel, its reader taking the inverse into its weights and
  bias: exactly the same float network (SmoothQuant's migration, without clipping what is migrated);
- Q, K and V, the scores, the probabilities and the context have one scale per head; K and V lose their means, which a
  softmax does not see and the projection's bias gives back;
- GELU is a table of the exact function, and both its quantizers have a zero point, which the biases of the linears
  before and behind it hold: the input spends no codes on where GELU is zero, the output none below its minimum.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware.graph.constants import norm_bias_fits, quantized
from firmware.quantizer.attention import AttentionCalibration
from firmware.quantizer.reference import gelu
from firmware.quantizer.rounding import compensated
from hw.spec.model import ModelError

__all__ = ["FreeCalibration"]

Array = NDArray[Any]
f32 = np.float32
_MOST_GAIN = 16  # between channels of a LayerNorm: more would leave the weights' channels too few bits
_ZERO = -4.0  # below, GELU is within 1.3e-4 of 0, and there is nothing to tell apart


def _floored(magnitudes: Array) -> Array:
    """At least a millionth of the largest: there is something to divide by."""
    return np.maximum(magnitudes, magnitudes.max() * 2**-20)


class FreeCalibration(AttentionCalibration):
    """`Calibration` by a `Recipe` with a balance, heads or a table."""

    # LayerNorm and its reader

    def _migrate(self, name: str, reader: str, source: str) -> None:
        if self.recipe.balance is not None and f"{reader}.weight" in self.weights:
            self._fold(name, reader)  # what is balanced has to be held in integers; the balanced is folded once more
            self._balance(name, reader, source, self.recipe.balance)
        super()._migrate(name, reader, source)

    def _balance(self, name: str, reader: str, source: str, share: float) -> None:
        """Divides channels of LayerNorm `name` by |activation|^share / |weight|^(1-share), after centring them."""
        found = self._normalised(name, reader, source)
        if found is None:
            return
        gamma, beta, weight, real = found
        axes = tuple(range(real.ndim - 1))
        low, high = real.min(axes), real.max(axes)
        middle = ((low + high) / 2).astype(f32)
        bias = self.weights.get(f"{reader}.bias")
        if bias is None:  # it has none in the graph either
            middle = np.zeros_like(middle)
        middle = np.where(norm_bias_fits(gamma, beta - middle, self.norm), middle, f32(0))
        reach = np.maximum(np.maximum(high - middle, middle - low), self._unseen(real))
        reach, columns = (_floored(each) for each in (reach, np.abs(weight).max(0)))
        gain = reach**share / columns ** (1 - share)
        gain = np.clip(gain / np.median(gain), 1 / _MOST_GAIN, _MOST_GAIN).astype(f32)
        if bias is not None:
            self.weights[f"{reader}.bias"] = (bias + weight.astype(np.float64) @ middle).astype(f32)
        self._rescale(name, reader, gamma, beta - middle, weight, gain)
        self._reach = float((reach / gain).max())

    # Weights

    def _rounded(self, name: str, weight: Array, scale: Array, source: str | None, s_in: Array) -> Array:
        if source is None or not self.recipe.compensate:
            return super()._rounded(name, weight, scale, source, s_in)
        codes = self._values[source]
        inputs = codes.reshape(-1, codes.shape[-1]) * float(s_in) + self._centre_of(name, weight.shape[1])
        steps = scale[:, None].astype(np.float64)
        integers = compensated(weight / steps, inputs, 127).astype(np.int8)
        self._owed[name] = ((weight - integers * steps) @ inputs.mean(0)).astype(f32)
        return integers

    # GELU

    def gelu(self, mlp: str, scale: Array) -> tuple[str, Array]:
        if self.recipe.gelu != "table":
            return super().gelu(mlp, scale)
        before, quantizer, name = f"{mlp}.fc1", f"{mlp}.qact_gelu", f"{mlp}.act"
        real = self._real(before, scale)
        low, high = max(float(real.min()), _ZERO), float(real.max())
        s_in, middle = self._codes(low, high, 8)
        self._shift_bias(before, np.rint(-middle / scale.astype(np.float64)).astype(np.int64))
        self._told(real, s_in, 8, middle)
        self.scaled(quantizer, before, scale, s_in, 8)
        codes = self._values[quantizer]
        results = gelu((np.arange(-128, 128) * float(s_in) + middle).astype(f32)).astype(np.float64)
        seen = results[int(codes.min()) + 128 : int(codes.max()) + 129]
        bits = self.input_bits(f"{mlp}.fc2")
        s_out, centre = self._codes(float(seen.min()), float(seen.max()), bits)
        entries = quantized(results - centre, s_out, bits).astype(f"int{bits}")
        self.hold(name, entries=entries)
        self._told(results[codes.astype(np.int64) + 128], s_out, bits, centre)
        self.node(name, "table", quantizer, bits=bits)
        self._centres[f"{mlp}.fc2"] = centre
        return name, s_out

    @staticmethod
    def _codes(low: float, high: float, bits: int) -> tuple[Any, float]:
        """Scale and value of code 0 for values from `low` to `high`."""
        scale = max(f32((high - low) / ((1 << bits) - 1)), f32(2.0**-23))
        return scale, low + float(scale) * (1 << (bits - 1))

    def _shift_bias(self, name: str, by: Array) -> None:
        """Adds integers to the bias of linear `name`, and to what it has computed."""
        bias = self.tensors[f"{name}.bias"].astype(np.int64) + by
        if np.any(np.abs(bias) >= 1 << 31):
            raise ModelError(f"tensor {name}.bias must fit 32 bits, not reach {np.abs(bias).max()}")
        self.tensors[f"{name}.bias"] = bias.astype(np.int32)
        self._values[name] = (self._values[name] + by).astype(np.int32)

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
from firmware.quantizer.calibration import Calibration
from firmware.quantizer.ranges import choose_scale, symmetric_scale
from firmware.quantizer.reference import gelu, softmax
from firmware.quantizer.rounding import compensated
from hw.spec import arith
from hw.spec.model import ModelError

__all__ = ["FreeCalibration", "score_scale"]

Array = NDArray[Any]
f32 = np.float32
_MOST_GAIN = 16  # between channels of a LayerNorm: more would leave the weights' channels too few bits
_ZERO = -4.0  # below, GELU is within 1.3e-4 of 0, and there is nothing to tell apart
_FRACTION = 7  # bits that Shiftmax has behind the point
_OCTAVE = 23 / 16 * float(np.log(2))  # of natural logarithms: Shiftmax takes 23/16 for 1/ln 2
_COARSER = 1.25  # scales than the finest that are looked at
_ROWS = 256  # of scores that are looked at


def score_scale(rows: Array, least: float) -> tuple[Any, int, int]:
    """(scale, I0, fraction bits) of int8 scores of which `rows` [n, width] are examples; the scale is at least `least`.

    Shiftmax's base is 2, to -23/16 of x, so that I0 = 2^fraction / scale * 23/16 * ln 2, which is whole for the scales
    that are looked at. Of these, each as fine as one number of fraction bits allows, it is the one whose probabilities
    are nearest. A large I0 tells finer exponentials apart, but its sums leave the division few bits: a row of n like
    scores has a factor of floor(2^16 / (n * I0)). No row may clamp its sum of exponentials. Beyond a scale of 2^7
    scores clamp.
    """
    most = min(1023, ((1 << 16) - 1) // rows.shape[-1])
    found = [(min(int(_OCTAVE * (1 << f) / least), most), f) for f in range(_FRACTION + 1)]
    scales = {(i0, f): f32(_OCTAVE * (1 << f) / i0) for i0, f in found if i0}
    finest = min(scales.values(), default=f32(0))
    scales = {key: scale for key, scale in scales.items() if scale <= _COARSER * finest}
    wanted, errors = softmax(rows), {}
    for (i0, f), scale in scales.items():
        codes = quantized(rows, np.asarray(scale), 8)
        law = arith.shiftmax(codes, i0, bits=16, fraction=f) / 2.0**15
        errors[i0, f] = float(np.square(law / law.sum(axis=-1).mean() - wanted).sum())
    i0, f = min(errors, key=lambda key: errors[key], default=(1, _FRACTION))
    return f32(_OCTAVE * (1 << f) / i0), i0, f


def _some_rows(real: Array) -> Array:
    """About `_ROWS` of the rows of `real`, [n, width]."""
    rows = real.reshape(-1, real.shape[-1])
    return rows[:: max(1, len(rows) // _ROWS)]


def _floored(magnitudes: Array) -> Array:
    """At least a millionth of the largest: there is something to divide by."""
    return np.maximum(magnitudes, magnitudes.max() * 2**-20)


class FreeCalibration(Calibration):
    """`Calibration` by a `Recipe` with a balance, heads or a table."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._removed: dict[str, Array] = {}  # means that were taken out of what a node gives, by channel
        super().__init__(*arguments, **options)

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
        middle = np.where(norm_bias_fits(gamma, beta - middle), middle, f32(0))
        reach = np.maximum(np.maximum(high - middle, middle - low), self._unseen(real))
        reach, columns = (_floored(each) for each in (reach, np.abs(weight).max(0)))
        gain = reach**share / columns ** (1 - share)
        gain = np.clip(gain / np.median(gain), 1 / _MOST_GAIN, _MOST_GAIN).astype(f32)
        if bias is not None:
            self.weights[f"{reader}.bias"] = (bias + weight.astype(np.float64) @ middle).astype(f32)
        self._rescale(name, reader, gamma, beta - middle, weight, gain)
        self._reach = float((reach / gain).max())

    def _unseen(self, real: Array) -> Array:
        """What channels [.., C] of `real` less their centres are to reach at least.

        What tokens of n images have in common may be the images' own. Others may differ from it by as much as a mean of
        n differs from none: by 1/sqrt(n) of it.
        """
        reach: Array = np.abs(real).max(axis=tuple(range(real.ndim - 1))) / np.sqrt(len(self.images))
        return reach

    # Weights

    def _rounded(self, name: str, weight: Array, scale: Array, inputs: Array) -> Array:
        if not self.recipe.compensate:
            return super()._rounded(name, weight, scale, inputs)
        steps = scale[:, None].astype(np.float64)
        integers = compensated(weight / steps, inputs, 127).astype(np.int8)
        self._owed[name] = ((weight - integers * steps) @ inputs.mean(0)).astype(f32)
        return integers

    # Heads

    def scores(
        self, at: str, source: str, s_in: Array, dim: int, heads: int, *, use: str = "values", **windows: int
    ) -> tuple[Array, Array]:
        if self.recipe.heads:
            self._centre(at, source, s_in, dim)
        return super().scores(at, source, s_in, dim, heads, use=use, **windows)

    def _centre(self, at: str, source: str, s_in: Array, dim: int) -> None:
        """Takes the means of K and V out of them: the float network stays.

        A softmax does not see what all its scores have in common, and of what all values have in common its row gives
        once, which the projection's bias does as well. Scores, K, V and context have less to span then.
        """
        qkv, proj = f"{at}.qkv", f"{at}.proj"
        if not {f"{qkv}.bias", f"{proj}.bias"} <= self.weights.keys():
            return
        codes = self._values[source]
        x = codes.reshape(-1, codes.shape[-1]).mean(0) * np.asarray(s_in, np.float64) + self._centres.get(qkv, 0.0)
        weight, bias, out = (self._float(key) for key in (f"{qkv}.weight", f"{qkv}.bias", f"{proj}.weight"))
        if weight.shape != (3 * dim, dim) or bias.shape != (3 * dim,) or out.shape[1:] != (dim,):
            return  # refused where they are used
        mean = weight[dim:].astype(np.float64) @ x + bias[dim:]
        self._removed[qkv], self._removed[f"{at}.matmul_2"] = np.concatenate([np.zeros(dim), mean]), mean[dim:]
        self.weights[f"{qkv}.bias"] = np.concatenate([bias[:dim], bias[dim:] - mean]).astype(f32)
        self.weights[f"{proj}.bias"] = (self._float(f"{proj}.bias") + out.astype(np.float64) @ mean[dim:]).astype(f32)

    def requantize(
        self, name: str, source: str, s_in: Array, bits: int = 8, *, use: str = "values", heads: int = 0, axis: int = -1
    ) -> Array:
        if not heads or not self.recipe.heads:
            return super().requantize(name, source, s_in, bits, use=use, heads=heads, axis=axis)
        real = self._real(source, s_in)
        ranged = "values" if use == "shiftmax" else use  # scores are not searched for I0, which follows any scale
        scales = np.array(
            [choose_scale(self.recipe.ranges, part, bits, ranged) for part in np.split(real, heads, axis)], f32
        )
        if source in self._removed:
            least = self._unseen(real + self._removed[source]).reshape(heads, -1).max(axis=1)
            scales = np.maximum(scales, [symmetric_scale(each, bits) for each in least]).astype(f32)
        if use == "shiftmax":
            found = [
                score_scale(_some_rows(part), float(scale))
                for part, scale in zip(np.split(real, heads, axis), scales, strict=True)
            ]
            scales = np.array([scale for scale, _, _ in found], f32)
            i0, fraction = (np.array([row[part] for row in found])[:, None, None] for part in (1, 2))
            self._exponents[name] = (i0, fraction)
        s_out = scales[:, None, None] if axis == -3 else np.repeat(scales, real.shape[-1] // heads)
        self._told(real, s_out, bits)
        return self.scaled(name, source, s_in, s_out, bits)

    def shiftmax(self, name: str, *sources: str, scale: Array, bits: int) -> Array:
        """With heads, each one's probabilities stand for what makes their rows sum up to one on average."""
        law = super().shiftmax(name, *sources, scale=scale, bits=bits)
        if not self.recipe.heads:
            return law
        sums = self._values[name].sum(axis=-1, dtype=np.float64)  # [B, heads, n], or with windows behind B
        sums = np.moveaxis(sums, -2, 0)
        return self._gave(name, (1 / sums.reshape(len(sums), -1).mean(axis=1)).astype(f32)[:, None, None])

    def add(
        self, name: str, source: str, s_in: Array, identity: str, s_identity: Array, bits: int = 16, *,
        use: str = "values",
    ) -> Array:  # fmt: skip
        """Scores of all heads in one scale, for Shiftmax, get one that it takes exactly."""
        if use != "shiftmax" or not self.recipe.heads:
            return super().add(name, source, s_in, identity, s_identity, bits, use=use)
        real = self._real(source, s_in) + self._real(identity, s_identity)
        least = choose_scale(self.recipe.ranges, real, bits)
        scale, i0, fraction = score_scale(_some_rows(real), float(least))
        self._exponents[name] = np.array([i0]), np.array([fraction])
        self._told(real, scale, bits)
        return self.summed(name, source, s_in, identity, s_identity, np.asarray(scale), bits)

    def exponent(self, name: str, source: str, scale: Array) -> tuple[Array, Array]:
        return self._exponents[source] if source in self._exponents else super().exponent(name, source, scale)

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

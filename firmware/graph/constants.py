"""The official converter's constants, one float32 rounding each where the official modules round."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hw.spec.model import ModelError

__all__ = ["dyadic", "gelu_i0", "norm_bias", "norm_bias_fits", "norm_scale", "quantized", "softmax_i0"]

Array = NDArray[Any]
f32 = np.float32


def dyadic(s_in: Array, s_out: Array) -> tuple[Array, Array]:
    """(m, e) with m/2^e = s_in/s_out, 2^30 <= |m| <= 2^31: float32 scales, one float64 division, round half away."""
    fraction, exponent = np.frexp(np.float64(s_in) / np.float64(s_out))
    scaled = fraction * 2.0**31  # exact, as is adding a half below 2^53
    mult = np.where(scaled < 0, -np.floor(0.5 - scaled), np.floor(scaled + 0.5)).astype(np.int64)
    return mult, 31 - exponent.astype(np.int64)


def quantized(values: Array, scale: Array, bits: int) -> Array:
    """Integers (int64) of a constant that the official QuantAct sees: clamp(RNE(fl(fl(1/s)*x)))."""
    limit = 1 << (bits - 1)
    return np.clip(np.rint((f32(1) / scale) * values.astype(f32)), -limit, limit - 1).astype(np.int64)


def softmax_i0(scale: Array) -> int:
    """I0 of Shiftmax: fl(1/scale), rounded up."""
    return int(np.ceil(f32(1) / f32(scale)))


def gelu_i0(scale: Array) -> int:
    """I0 of ShiftGELU, whose sigmoid sees the scale times 1.702: fl(1/fl(scale*1.702)), rounded up."""
    return int(np.ceil(f32(1) / (f32(scale) * f32(1.702))))


def _norm_unit(channels: int, op: str) -> Any:
    """What one of a norm's integers stands for, before its gain: of I-LayerNorm and I-BERT's fl(sqrt C)*2^-30.

    The L1 norm's deviation is sqrt(pi/2) times the mean distance, A/C, and its integers are 2^33 * y / A.
    """
    if op == "l1_layer_norm":
        return f32(channels / math.sqrt(math.pi / 2)) * f32(2.0**-33)
    return np.sqrt(f32(channels)) * f32(2.0**-30)


def norm_scale(gamma: Array, op: str = "layer_norm") -> Array:
    """Scale of each channel of a norm's output: fl(fl(sqrt C)*2^-30 * gamma), signed; of norm `op`."""
    scale: Array = _norm_unit(len(gamma), op) * gamma.astype(f32)
    return scale


def _norm_bias(gamma: Array, beta: Array, op: str) -> Array:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        bias: Array = np.floor((beta.astype(f32) / gamma.astype(f32)) / _norm_unit(len(gamma), op))
    return bias


def norm_bias_fits(gamma: Array, beta: Array, op: str = "layer_norm") -> Array:
    """Where a norm's integer bias fits the 34 bits that the hardware has; not where gamma is 0."""
    return np.abs(_norm_bias(gamma, beta, op)) < 2.0**33  # false for NaN


def norm_bias(name: str, gamma: Array, beta: Array, op: str = "layer_norm") -> Array:
    """Integer bias (int64) of norm `name`: floor(fl(fl(beta/gamma) / (fl(sqrt C)/2^30))).

    Raises ModelError where it leaves the 34 bits that the hardware has: gamma is too small.
    """
    fits = norm_bias_fits(gamma, beta, op)
    if not np.all(fits):
        channel = int(np.argmin(fits))
        raise ModelError(
            f"{name} channel {channel} needs an integer bias beyond 34 bits: gamma {gamma[channel]} is too small "
            f"for beta {beta[channel]}"
        )
    return _norm_bias(gamma, beta, op).astype(np.int64)

"""Runs calibration images through integer operators, choosing each scale as it is met: what ViT and Swin share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware.ivit.constants import dyadic, norm_bias, norm_scale, quantized
from firmware.quantize.ranges import RANGES, symmetric_scale
from hw.spec import arith
from hw.spec.model import ModelError

__all__ = ["Calibration"]

Array = NDArray[Any]
f32 = np.float32
_BATCH = 16  # images per step of the running range


class Calibration:
    """A float checkpoint on its way to a state in the official layout."""

    def __init__(self, weights: Mapping[str, Array], images: Array, heads: int, bits: int, choose: str) -> None:
        self.weights, self.heads, self.bits = weights, heads, bits
        self.choose = RANGES[choose]
        self.state: dict[str, Array] = {}
        self.images = images

    def get(self, name: str) -> Array:
        if name not in self.weights:
            raise ModelError(f"tensor {name} is missing from the checkpoint")
        value = np.asarray(self.weights[name])
        if not np.all(np.isfinite(value)):
            raise ModelError(f"tensor {name} contains NaN or infinity")
        return value.astype(f32)

    def range(self, name: str, values: Array, bits: int) -> Any:
        scale = symmetric_scale(self.choose([values[i : i + _BATCH] for i in range(0, len(values), _BATCH)]), bits)
        self.state[f"{name}.act_scaling_factor"] = np.asarray(scale, f32)
        return scale

    def act(
        self, name: str, z: Array, s_in: Array, bits: int = 8, identity: Array | None = None, s_identity: Any = None
    ) -> tuple[Array, Any]:
        """QuantAct: choose the scale of (z*s_in [+ identity*s_identity]), requantize to it."""
        real = z * np.asarray(s_in, np.float64)
        if identity is not None:
            real = real + identity * float(s_identity)
        scale = self.range(name, real, bits)
        mult, shift = dyadic(np.atleast_1d(s_in), scale)
        if identity is None:
            return arith.requantize(z, mult, shift, bits), scale
        other = dyadic(np.atleast_1d(s_identity), scale)
        factors = {"mult_identity": other[0], "shift_identity": other[1]}
        return arith.requantize(z, mult, shift, bits, identity=identity, **factors), scale

    def linear(self, name: str, x: Array, s_in: Any, kind: str = "fc") -> tuple[Array, Array]:
        weight = self.get(f"{name}.weight")
        flat = weight.reshape(len(weight), -1)
        s_w = np.maximum(np.abs(flat).max(1) / f32(127), f32(2.0**-23))
        w = quantized(flat, s_w[:, None], 8)
        s_out = s_w * f32(s_in)
        bias = f"{name}.bias"
        b = quantized(self.get(bias), s_out, 32) if bias in self.weights else np.zeros(len(w), np.int64)
        self.state[f"{name}.weight_integer"] = w.reshape(weight.shape).astype(np.int8)
        self.state[f"{name}.bias_integer"] = b.astype(np.int32)
        self.state[f"{name}.{kind}_scaling_factor"] = s_w
        return arith.linear(x, w, b), s_out

    def norm(self, name: str, x: Array) -> tuple[Array, Array]:
        gamma, beta = self.get(f"{name}.weight"), self.get(f"{name}.bias")
        self.state[f"{name}.weight"], self.state[f"{name}.bias"] = gamma, beta
        return arith.layer_norm(x, norm_bias(name, gamma, beta)), norm_scale(gamma)

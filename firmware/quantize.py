"""Post-training quantization of a float ViT with I-ViT's operators and rules.

Weights are per output channel, symmetric, 8 bit; activations per tensor, 8 or 16 bit as I-ViT assigns them. Scales are
found operator by operator: each quantizer's range is taken from what the already quantized operators before it compute
on the calibration images, in exact integers. The result is a state in the official I-ViT layout, so a model that is
quantized here and a checkpoint that is imported take the same road (`firmware.ivit.model_from_state`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware.ivit import dyadic, gelu_i0, model_from_state, norm_bias, norm_scale, softmax_i0
from hw.spec import arith
from hw.spec.model import Model, ModelError

__all__ = ["RANGES", "official_state", "quantize"]

Array = NDArray[Any]
f32 = np.float32
_BATCH = 16  # images per step of the running range
_MOMENTUM = 0.95  # of I-ViT's QuantAct


def _ema(batches: list[Array]) -> float:
    """I-ViT's running minimum and maximum: exponential average over batches, started at the first."""
    low, high = float(batches[0].min()), float(batches[0].max())
    for batch in batches[1:]:
        low = _MOMENTUM * low + (1 - _MOMENTUM) * float(batch.min())
        high = _MOMENTUM * high + (1 - _MOMENTUM) * float(batch.max())
    return max(-low, high)


RANGES: dict[str, Callable[[list[Array]], float]] = {
    "ema": _ema,
    "minmax": lambda batches: max(float(np.abs(batch).max()) for batch in batches),
    "percentile": lambda batches: float(np.percentile(np.abs(np.concatenate([b.ravel() for b in batches])), 99.99)),
}
"""Ways to choose an activation range: name -> function of the calibration batches."""


def _scale(limit: float, bits: int) -> Any:
    """Scale of a symmetric quantizer: fl(limit / (2^(bits-1)-1)), at least 2^-23 (I-ViT's guard is the float32 eps)."""
    return max(f32(limit) / f32(2 ** (bits - 1) - 1), f32(2.0**-23))


def _integers(values: Array, scale: Array, bits: int) -> Array:
    """clamp(RNE(fl(fl(1/s)*x))), I-ViT's quantizer of constants."""
    limit = 2 ** (bits - 1)
    return np.clip(np.rint((f32(1) / scale) * values.astype(f32)), -limit, limit - 1).astype(np.int64)


class _Calibration:
    """Runs the calibration images through the operators, choosing each scale as it is met."""

    def __init__(self, weights: Mapping[str, Array], images: Array, heads: int, bits: int, choose: str) -> None:
        self.weights, self.heads, self.bits = weights, heads, bits
        self.choose = RANGES[choose]
        self.state: dict[str, Array] = {}
        self._images = images

    def get(self, name: str) -> Array:
        if name not in self.weights:
            raise ModelError(f"tensor {name} is missing from the checkpoint")
        value = np.asarray(self.weights[name])
        if not np.all(np.isfinite(value)):
            raise ModelError(f"tensor {name} contains NaN or infinity")
        return value.astype(f32)

    def range(self, name: str, values: Array, bits: int) -> Any:
        scale = _scale(self.choose([values[i : i + _BATCH] for i in range(0, len(values), _BATCH)]), bits)
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
        w = _integers(flat, s_w[:, None], 8)
        s_out = s_w * f32(s_in)
        bias = f"{name}.bias"
        b = _integers(self.get(bias), s_out, 32) if bias in self.weights else np.zeros(len(w), np.int64)
        self.state[f"{name}.weight_integer"] = w.reshape(weight.shape).astype(np.int8)
        self.state[f"{name}.bias_integer"] = b.astype(np.int32)
        self.state[f"{name}.{kind}_scaling_factor"] = s_w
        return arith.linear(x, w, b), s_out

    def norm(self, name: str, x: Array) -> tuple[Array, Array]:
        gamma, beta = self.get(f"{name}.weight"), self.get(f"{name}.bias")
        self.state[f"{name}.weight"], self.state[f"{name}.bias"] = gamma, beta
        return arith.layer_norm(x, norm_bias(name, gamma, beta)), norm_scale(gamma)

    def run(self) -> dict[str, Array]:
        x, scale = self._embed()
        depth = len({key.split(".")[1] for key in self.weights if key.startswith("blocks.")})
        if not depth:
            raise ModelError("the checkpoint has no blocks.0, so it is no ViT in timm's layout")
        for index in range(depth):
            x, scale = self._attention(f"blocks.{index}", x, scale)
            x, scale = self._mlp(f"blocks.{index}", x, scale)
        z, s_z = self.norm("norm", x)
        z, s_z = self.act("qact2", z[:, 0], s_z)
        self.linear("head", z, s_z)
        return self.state

    def _embed(self) -> tuple[Array, Any]:
        scale = self.range("qact_input", self._images, 8)
        image = _integers(self._images, scale, 8)
        patch = self.get("patch_embed.proj.weight").shape[-1]
        n, channels, height, width = image.shape
        rows = image.reshape(n, channels, height // patch, patch, width // patch, patch).transpose(0, 2, 4, 1, 3, 5)
        rows = rows.reshape(n, (height // patch) * (width // patch), -1)
        z, s_z = self.linear("patch_embed.proj", rows, scale, "conv")
        z, s_z = self.act("patch_embed.qact", z, s_z, 16)
        self.state["cls_token"], self.state["pos_embed"] = self.get("cls_token"), self.get("pos_embed")
        cls = np.rint(self.state["cls_token"] / s_z).astype(np.int64)
        z = np.concatenate([np.broadcast_to(cls, (n, 1, z.shape[2])), z], axis=1)
        position = self.state["pos_embed"]
        if position.shape != (1, *z.shape[1:]):
            raise ModelError(f"pos_embed must have shape {[1, *z.shape[1:]]}, not {list(position.shape)}")
        s_pos = self.range("qact_pos", position, 16)
        return self.act("qact1", z, s_z, 16, _integers(position, s_pos, 16), s_pos)

    def _attention(self, at: str, x: Array, s_x: Any) -> tuple[Array, Any]:
        z, s_z = self.act(f"{at}.qact1", *self.norm(f"{at}.norm1", x))
        z, s_qkv = self.act(f"{at}.attn.qact1", *self.linear(f"{at}.attn.qkv", z, s_z))
        n, tokens, width = z.shape
        dim = width // 3
        q, k, v = z.reshape(n, tokens, 3, self.heads, dim // self.heads).transpose(2, 0, 3, 1, 4)
        s_scores = (s_qkv * s_qkv) * f32((dim // self.heads) ** -0.5)
        scores, s_scores = self.act(f"{at}.attn.qact_attn1", arith.matmul(q, k.swapaxes(-1, -2)), s_scores)
        p = arith.shiftmax(scores, softmax_i0(s_scores), bits=self.bits)
        z = arith.matmul(p, v).transpose(0, 2, 1, 3).reshape(n, tokens, dim)
        z, s_z = self.act(f"{at}.attn.qact2", z, f32(2.0 ** (1 - self.bits)) * s_qkv)
        z, s_z = self.act(f"{at}.attn.qact3", *self.linear(f"{at}.attn.proj", z, s_z), 16)
        return self.act(f"{at}.qact2", z, s_z, 16, x, s_x)

    def _mlp(self, at: str, x: Array, s_x: Any) -> tuple[Array, Any]:
        z, s_z = self.act(f"{at}.qact3", *self.norm(f"{at}.norm2", x))
        z, s_z = self.act(f"{at}.mlp.qact_gelu", *self.linear(f"{at}.mlp.fc1", z, s_z))
        y = arith.shift_gelu(z, gelu_i0(s_z))
        z, s_z = self.act(f"{at}.mlp.qact1", y, s_z * f32(2.0**-7))
        z, s_z = self.act(f"{at}.mlp.qact2", *self.linear(f"{at}.mlp.fc2", z, s_z), 16)
        return self.act(f"{at}.qact4", z, s_z, 16, x, s_x)


def official_state(
    weights: Mapping[str, Array], images: Array, *, heads: int, attention_bits: int = 16, ranges: str = "ema"
) -> dict[str, Array]:
    """Official-layout state of a float ViT with timm's tensor names, calibrated on `images` (float, normalised).

    Raises ModelError for missing or non-finite tensors and for shapes that do not fit.
    """
    if ranges not in RANGES:
        raise ModelError(f"ranges must be one of {', '.join(RANGES)}, not {ranges!r}")
    return _Calibration(weights, images.astype(np.float64), heads, attention_bits, ranges).run()


def quantize(
    weights: Mapping[str, Array], images: Array, *, name: str, patch: int, heads: int, mean: Sequence[float],
    std: Sequence[float], attention_bits: int = 16, ranges: str = "ema", labels: Sequence[str] = (),
) -> Model:  # fmt: skip
    """The integer model of a float ViT; `images` [n, C, H, W] are normalised floats. Raises ModelError."""
    state = official_state(weights, images, heads=heads, attention_bits=attention_bits, ranges=ranges)
    return model_from_state(
        state, name=name, patch=patch, heads=heads, image=tuple(images.shape[1:]), mean=mean, std=std,
        attention_bits=attention_bits, labels=labels,
    )  # fmt: skip

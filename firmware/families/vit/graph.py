"""ViT and DeiT in the official layout."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware.graph.builder import Builder
from hw.spec.model import ModelError

__all__ = ["vit"]

Array = NDArray[Any]
f32 = np.float32


def vit(
    build: Builder, image: tuple[int, int, int], patch: int | None, heads: int, depth: int, attention_bits: int, *,
    features: bool = False, average: bool = False, norm_of_mean: bool = False, distilled: bool = False,
) -> Array:  # fmt: skip
    """Builds the whole graph. Returns the scales of the logits.

    A network without a head gives `features`; `average` is whether the head reads the mean of the patches, and
    `norm_of_mean` whether that is of the residual stream, and the last norm, `fc_norm`, behind it; `distilled` whether
    the head is `heads` instead, one matrix for the first two tokens.
    """
    if average and distilled:
        raise ModelError("two heads read a class token and a distillation token, not the mean of the patches")
    scale, dim, tokens, prefix = _embed(build, image, patch)
    if dim % heads:
        raise ModelError(f"{heads} heads do not divide the width {dim}")
    at = "qact1"
    for index in range(depth):
        at, scale = _block(build, f"blocks.{index}", at, scale, dim, heads, attention_bits)
    if features:
        build.hand_on("head", dim)
    if average and norm_of_mean:
        build.node("pool", "pool", at, first=prefix)
        scale = build.requantize("qact_pool", "pool", scale / f32(tokens - prefix), 16)
        scale = build.layer_norm("fc_norm", "qact_pool", dim)
        return _head(build, "fc_norm", "fc_norm", scale, dim, features=features)
    scale = build.layer_norm("norm", at, dim)
    if distilled:
        scale = build.requantize("qact2", "norm", scale)
        build.node("class_token", "class_token", "qact2", count=2)
        return build.linear("heads", "class_token", scale, 2 * dim)
    if average:
        scale = build.requantize("qact2", "norm", scale)
        build.node("pool", "pool", "qact2", first=prefix)
        scale = build.requantize("qact_pool", "pool", scale / f32(tokens - prefix))
        return build.linear("head", "qact_pool", scale, dim)
    build.node("class_token", "class_token", "norm")
    return _head(build, "class_token", "norm", scale, dim, features=features)


def _head(build: Builder, source: str, norm: str, scale: Array, dim: int, *, features: bool) -> Array:
    """Quantizer and head of one row, `source`, which comes from LayerNorm `norm`. Returns the scales of the logits."""
    if features:
        scale = build.feature("qact2", source, norm, "head", scale)
    else:
        scale = build.requantize("qact2", source, scale)
    return build.linear("head", "qact2", scale, dim)


def _embed(build: Builder, image: tuple[int, int, int], patch: int | None) -> tuple[Array, int, int, int]:
    """Image to tokens. Returns the scale of `qact1`, its width, its tokens and those before the patches."""
    state = build.state
    scale, patch = build.patch_embed(build.input(), image, patch)
    dim = len(scale)
    scale = build.requantize("patch_embed.qact", "patch_embed.proj", scale, 16)
    cls = np.rint(state.array("cls_token", (1, None, dim)).astype(f32) / scale)  # not clamped: may exceed int16
    if np.any(np.abs(cls) >= 2.0**31):
        raise ModelError("cls_token does not fit 32 bits at the scale of patch_embed.qact")
    build.hold("cls_token", cls=cls[0].astype(np.int32))
    build.node("cls_token", "concat_cls", "patch_embed.qact")
    tokens = (image[1] // patch) * (image[2] // patch) + cls.shape[1]
    position, s_pos = build.quantized("qact_pos", state.array("pos_embed", (1, tokens, dim)), 16)
    build.constant("qact_pos", position.reshape(tokens, dim))
    return build.add("qact1", "cls_token", scale, "qact_pos", s_pos), dim, tokens, cls.shape[1]


def _block(
    build: Builder, at: str, source: str, s_in: Array, dim: int, heads: int, attention_bits: int
) -> tuple[str, Array]:
    """One encoder block reading node `source`. Returns its last node and that one's scale."""
    attn = f"{at}.attn"
    scale = build.layer_norm(f"{at}.norm1", source, dim)
    scale = build.requantize(f"{at}.qact1", f"{at}.norm1", scale, build.input_bits(f"{attn}.qkv"))
    s_value, scale = build.scores(attn, f"{at}.qact1", scale, dim, heads, use="shiftmax")
    unit = build.shiftmax(f"{attn}.int_softmax", f"{attn}.qact_attn1", scale=scale, bits=attention_bits)
    scale = build.context(attn, f"{attn}.qact2", f"{attn}.int_softmax", unit, s_value, heads)
    scale = build.linear(f"{attn}.proj", f"{attn}.qact2", scale, dim, dim)
    scale = build.requantize(f"{attn}.qact3", f"{attn}.proj", scale, 16)
    scale = build.add(f"{at}.qact2", f"{attn}.qact3", scale, source, s_in)
    return build.mlp(at, f"{at}.qact2", scale, dim)

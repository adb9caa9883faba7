"""Swin in the official layout: windows, shifts, relative positions and merging, all read from the state's shapes."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware.families.swin.relative import gathered, relative_position_index, shift_of
from firmware.families.swin.windows import mask as window_mask
from firmware.graph.builder import Builder
from firmware.graph.constants import softmax_i0
from hw.spec.arith import SOFTMAX_TERMS
from hw.spec.model import ModelError

__all__ = ["mask_excludes", "swin"]

Array = NDArray[Any]
f32 = np.float32
_MASK = -100.0  # what the official modules add to masked logits


@dataclass
class _Tokens:
    """The residual stream between blocks: its node, scale and grid."""

    node: str
    scale: Array
    height: int
    width: int
    dim: int


def mask_excludes(scale: Array) -> bool:
    """Whether a mask of -100, added to int8 scores of `scale`, surely means what `hw.spec.arith.masked` does.

    The official code adds it in float, so a masked score is x - 100/scale, at most 255 - 100/scale above the row's
    maximum d, which is an unmasked score as long as that is negative. ShiftExp clamps it to -terms*I0, exactly, if
    p = d + floor(d/2) - floor(d/16) < 1.4375*d + 1 is not above; 1 more covers float32 rounding.
    """
    d = 255 + _MASK / float(scale)
    return d < 0 and 1.4375 * d + 2 <= -SOFTMAX_TERMS * softmax_i0(scale)


def swin(
    build: Builder, image: tuple[int, int, int], patch: int | None, depths: tuple[int, ...], attention_bits: int
) -> Array:
    """Builds the whole graph; `depths` are the blocks of each stage. Returns the scales of the logits."""
    scale, patch = build.patch_embed(build.input(), image, patch)
    dim = len(scale)
    build.requantize("patch_embed.qact_before_norm", "patch_embed.proj", scale)
    scale = build.layer_norm("patch_embed.norm", "patch_embed.qact_before_norm", dim)
    scale = build.requantize("patch_embed.qact", "patch_embed.norm", scale, 16)
    scale = build.requantize("qact1", "patch_embed.qact", scale, 16)
    tokens = _Tokens("qact1", scale, image[1] // patch, image[2] // patch, dim)
    for stage, depth in enumerate(depths):
        for block in range(depth):
            _block(build, f"layers.{stage}.blocks.{block}", block, tokens, attention_bits)
        if stage + 1 < len(depths):
            _merge(build, f"layers.{stage}.downsample", tokens)
    scale = build.layer_norm("norm", tokens.node, tokens.dim)
    scale = build.requantize("qact2", "norm", scale)
    build.node("avgpool", "mean", "qact2")
    scale = build.requantize("qact3", "avgpool", scale)
    return build.linear("head", "qact3", scale, tokens.dim)


def _block(build: Builder, at: str, index: int, tokens: _Tokens, attention_bits: int) -> None:
    """Appends one block and moves `tokens` behind it."""
    attn, dim = f"{at}.attn", tokens.dim
    window, table = _table(build, attn, dim)
    if tokens.height % window or tokens.width % window:
        raise ModelError(f"window {window} of {at} must divide the grid {tokens.height} x {tokens.width}")
    shift = shift_of(index, tokens.height, tokens.width, window)
    grid = {"height": tokens.height, "width": tokens.width, "window": window, "shift": shift}
    heads = {"heads": table.shape[1], "windows": (tokens.height // window) * (tokens.width // window)}
    scale = build.layer_norm(f"{at}.norm1", tokens.node, dim)
    scale = build.requantize(f"{at}.qact1", f"{at}.norm1", scale, build.input_bits(f"{attn}.qkv"))
    build.node(f"{at}.window_partition", "window_partition", f"{at}.qact1", **grid)
    s_value, scale = build.scores(attn, f"{at}.window_partition", scale, dim, **heads)
    biases, s_table = build.quantized(f"{attn}.qact_table", table, 8)
    build.constant(f"{attn}.qact_table", gathered(biases, window))
    scale = build.add(f"{attn}.qact2", f"{attn}.qact_attn1", scale, f"{attn}.qact_table", s_table, 8, use="shiftmax")
    mask = _mask(build, at, scale, **grid) if shift else ()
    softmax = f"{attn}.log_int_softmax"
    unit = build.shiftmax(softmax, f"{attn}.qact2", *mask, scale=scale, bits=attention_bits)
    scale = build.context(attn, f"{attn}.qact3", softmax, unit, s_value, **heads)
    scale = build.linear(f"{attn}.proj", f"{attn}.qact3", scale, dim, dim)
    scale = build.requantize(f"{attn}.qact4", f"{attn}.proj", scale, 16)
    build.node(f"{at}.window_reverse", "window_reverse", f"{attn}.qact4", **grid)
    scale = build.add(f"{at}.qact2", f"{at}.window_reverse", scale, tokens.node, tokens.scale)
    tokens.node, tokens.scale = build.mlp(at, f"{at}.qact2", scale, dim)


def _table(build: Builder, attn: str, dim: int) -> tuple[int, Array]:
    """Side of the window and the float bias table [(2*window-1)^2, heads]; both follow from the table's shape."""
    name = f"{attn}.relative_position_bias_table"
    table = build.state.array(name, (None, None))
    rows, heads = table.shape
    side = isqrt(rows)
    if side * side != rows or side % 2 == 0:
        raise ModelError(f"tensor {name} must have (2*window-1)^2 rows, not {rows}")
    if heads == 0 or dim % heads:
        raise ModelError(f"{heads} heads of {name} do not divide the width {dim}")
    window = (side + 1) // 2
    index = f"{attn}.relative_position_index"
    if index in build.state.state:
        stored = build.state.array(index, (window * window, window * window))
        if not np.array_equal(stored, relative_position_index(window)):
            raise ModelError(f"tensor {index} is not the index of a {window} x {window} window")
    return window, table


def _mask(build: Builder, at: str, scale: Array, *, height: int, width: int, window: int, shift: int) -> tuple[str]:
    """Appends the mask of a shifted block, proven to mean what the official one does. Returns its node."""
    name = f"{at}.attn_mask"
    mask = window_mask(height, width, window, shift)
    if name in build.state.state and not np.array_equal(build.state.array(name), _MASK * mask):
        raise ModelError(f"tensor {name} is not the mask of {_MASK:g} of a shift by {shift}")
    if not mask_excludes(scale):
        raise ModelError(
            f"tensor {at}.attn.qact2.act_scaling_factor is {float(scale):.3g}, too coarse for a mask of {_MASK:g}: "
            "masked scores could count for more than the least exponential"
        )
    build.constant(name, mask)
    return (name,)


def _merge(build: Builder, at: str, tokens: _Tokens) -> None:
    """Appends the merging of 2 x 2 tokens into one of twice the width; the residual stream starts anew as int8."""
    if tokens.height % 2 or tokens.width % 2:
        raise ModelError(f"{at} cannot merge a grid of {tokens.height} x {tokens.width}: it must be even")
    build.node(f"{at}.merge", "merge", tokens.node, height=tokens.height, width=tokens.width)
    scale = build.layer_norm(f"{at}.norm", f"{at}.merge", 4 * tokens.dim)
    scale = build.requantize(f"{at}.qact1", f"{at}.norm", scale, build.input_bits(f"{at}.reduction"))
    scale = build.linear(f"{at}.reduction", f"{at}.qact1", scale, 4 * tokens.dim, bias=False)
    tokens.dim = len(scale)
    tokens.node, tokens.scale = f"{at}.qact2", build.requantize(f"{at}.qact2", f"{at}.reduction", scale)
    tokens.height, tokens.width = tokens.height // 2, tokens.width // 2

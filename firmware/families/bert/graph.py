"""BERT as a graph: norms stand behind additions, and what they give has 16 bits for the stream and less for linears."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware.graph.builder import Builder
from hw.spec.model import ModelError

__all__ = ["bert"]

Array = NDArray[Any]
f32 = np.float32


def bert(build: Builder, tokens: int, heads: int, depth: int, attention_bits: int, *, average: bool) -> Array:
    """Builds the whole graph of texts of `tokens` tokens. Returns the scales of the features.

    A feature is the `average` of the tokens behind the last norm, or the first of them.
    """
    scale, dim = build.embedded()
    if dim % heads:
        raise ModelError(f"{heads} heads do not divide the width {dim}")
    at, norm = "qact_input", "embed.norm"
    for index in range(depth):
        at, scale, norm = _block(build, f"blocks.{index}", at, norm, dim, heads, attention_bits)
    build.features = True
    stream, scale = _stream(build, norm, at, dim)
    build.node("pool", "pool", stream, first=0, **({} if average else {"count": 1}))
    return np.broadcast_to(scale / f32(tokens if average else 1), (dim,)).astype(f32)


def _stream(build: Builder, norm: str, source: str, dim: int) -> tuple[str, Array]:
    """LayerNorm `norm` as the residual stream: its quantizer and that one's scale."""
    name = f"{norm.rpartition('.')[0]}.qact"
    return name, build.requantize(name, norm, build.layer_norm(norm, source, dim), 16)


def _block(
    build: Builder, at: str, source: str, norm: str, dim: int, heads: int, attention_bits: int
) -> tuple[str, Array, str]:
    """One block, which reads node `source` by way of `norm`. Returns its last node, that one's scale, and its norm."""
    attn, mlp = f"{at}.attn", f"{at}.mlp"
    scale = build.layer_norm(f"{at}.norm1", source, dim)
    scale = build.requantize(f"{at}.qact1", f"{at}.norm1", scale, build.input_bits(f"{attn}.qkv"))
    stream, s_stream = _stream(build, norm, source, dim)
    s_value, scale = build.scores(attn, f"{at}.qact1", scale, dim, heads, use="shiftmax")
    unit = build.shiftmax(f"{attn}.int_softmax", f"{attn}.qact_attn1", scale=scale, bits=attention_bits)
    scale = build.context(attn, f"{attn}.qact2", f"{attn}.int_softmax", unit, s_value, heads)
    scale = build.linear(f"{attn}.proj", f"{attn}.qact2", scale, dim, dim)
    scale = build.requantize(f"{attn}.qact3", f"{attn}.proj", scale, 16)
    build.add(f"{at}.qact2", f"{attn}.qact3", scale, stream, s_stream)

    scale = build.layer_norm(f"{at}.norm2", f"{at}.qact2", dim)
    scale = build.requantize(f"{at}.qact3", f"{at}.norm2", scale, build.input_bits(f"{mlp}.fc1"))
    stream, s_stream = _stream(build, f"{attn}.norm", f"{at}.qact2", dim)
    scale = build.linear(f"{mlp}.fc1", f"{at}.qact3", scale, dim)
    hidden = len(scale)
    after, scale = build.gelu(mlp, scale)
    scale = build.linear(f"{mlp}.fc2", after, scale, hidden, dim)
    scale = build.requantize(f"{mlp}.qact2", f"{mlp}.fc2", scale, 16)
    scale = build.add(f"{at}.qact4", f"{mlp}.qact2", scale, stream, s_stream)
    return f"{at}.qact4", scale, f"{mlp}.norm"

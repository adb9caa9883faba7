"""Nodes and tensors under construction: the operators that families share, from scales to integers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware.graph.constants import dyadic, gelu_i0, norm_bias, norm_scale, quantized, softmax_i0
from firmware.graph.state import State
from hw.spec.arith import GELU_TERMS, SOFTMAX_TERMS
from hw.spec.model import ModelError, Node

__all__ = ["Builder"]

Array = NDArray[Any]
f32 = np.float32


class Builder:
    """Nodes and tensors under construction; operators return the scales of their outputs."""

    def __init__(self, state: Mapping[str, Array]):
        self.state = State(state)
        self.nodes: list[Node] = []
        self.tensors: dict[str, Array] = {}
        self.features = False  # the network has no head
        self.norm = "layer_norm"  # the operator of its norms

    def hold(self, name: str, **tensors: Array) -> None:
        """Gives the node that will be called `name` its tensors."""
        self.tensors.update({f"{name}.{key}": value for key, value in tensors.items()})

    def input_bits(self, linear: str) -> int:
        """Bits of what linear `linear` reads: 8, or 16, which the array takes as two byte planes in two passes."""
        del linear
        return 8

    def node(self, name: str, op: str, *inputs: str, **attributes: int) -> None:
        """Appends a node."""
        self.nodes.append(Node(name, op, inputs, attributes))

    def factors(self, name: str, s_in: Array, s_out: Array) -> tuple[Array, Array]:
        """Dyadic factors as tensors of at least one dimension."""
        mult, shift = dyadic(np.atleast_1d(s_in), s_out)
        if np.any((shift < 0) | (shift > 63)):
            raise ModelError(
                f"the scales around {name} need a shift of {int(shift.min())} to {int(shift.max())}, beyond 0 to 63"
            )
        return mult, shift.astype(np.int8)

    def requantize(
        self, name: str, source: str, s_in: Array, bits: int = 8, *, use: str = "values", heads: int = 0, axis: int = -1
    ) -> Array:
        """A quantizer, for one who chooses scales with `use`, who gets its integers: "values", "shiftmax" or "gelu".

        It may choose one for each of `heads`, equal parts of `axis`; scales are then of channels, or [heads, 1, 1].
        """
        del use, heads, axis
        return self.scaled(name, source, s_in, self.state.scale(name), bits)

    def scaled(self, name: str, source: str, s_in: Array, s_out: Array, bits: int) -> Array:
        """A quantizer from scale to scale."""
        mult, shift = self.factors(name, s_in, s_out)
        self.hold(name, mult=mult, shift=shift)
        self.node(name, "requantize", source, bits=bits)
        return s_out

    def add(
        self, name: str, source: str, s_in: Array, identity: str, s_identity: Array, bits: int = 16, *,
        use: str = "values",
    ) -> Array:  # fmt: skip
        """An addition and its quantizer, `use` as of `requantize`."""
        del use
        return self.summed(name, source, s_in, identity, s_identity, self.state.scale(name), bits)

    def summed(
        self, name: str, source: str, s_in: Array, identity: str, s_identity: Array, s_out: Array, bits: int
    ) -> Array:
        """An addition, quantized to scale `s_out`."""
        mult, shift = self.factors(name, s_in, s_out)
        mult_identity, shift_identity = self.factors(name, s_identity, s_out)
        self.hold(name, mult=mult, shift=shift, mult_identity=mult_identity, shift_identity=shift_identity)
        self.node(name, "add", source, identity, bits=bits)
        return s_out

    def linear(
        self, name: str, source: str, s_in: Array, inputs: int, outputs: int | None = None, *, bias: bool = True
    ) -> Array:
        weight = self.state.integers(f"{name}.weight_integer", "int8", (outputs, inputs))
        offset = np.zeros(len(weight), np.int32)
        if bias:
            offset = self.state.integers(f"{name}.bias_integer", "int32", (len(weight),))
        self.hold(name, weight=weight, bias=offset)
        self.node(name, "linear", source)
        return self.state.weight_scale(f"{name}.fc_scaling_factor", len(weight)) * s_in

    def hand_on(self, name: str, dim: int) -> None:
        """Announces linear `name`, which the network does not have: the graph ends with one that changes nothing."""
        del dim
        raise ModelError(f"tensor {name}.weight_integer is missing from the state")

    def feature(self, name: str, source: str, norm: str, reader: str, s_in: Array) -> Array:
        """The quantizer of a network's result, rows of LayerNorm `norm`, which linear `reader` hands on."""
        del norm, reader
        return self.requantize(name, source, s_in)

    def layer_norm(self, name: str, source: str, dim: int) -> Array:
        gamma, beta = self.state.array(f"{name}.weight", (dim,)), self.state.array(f"{name}.bias", (dim,))
        bias = norm_bias(name, gamma, beta, self.norm)
        attributes, constants = self.norm_constants(source)
        self.hold(name, bias=bias, **constants)
        self.node(name, self.norm, source, **attributes)
        return norm_scale(gamma, self.norm)

    def norm_constants(self, source: str) -> tuple[dict[str, int], dict[str, Array]]:
        """Attributes, and tensors beside its bias, of the norm that reads node `source`."""
        del source
        return {}, {}

    def i0(self, name: str, value: int) -> int:
        if not 1 <= value <= 1023:
            raise ModelError(f"I0 of {name} must be from 1 to 1023, not {value}: its input's scale is out of range")
        return value

    def input(self) -> Array:
        self.node("qact_input", "input")
        return self.state.scale("qact_input")

    def embedded(self) -> tuple[Array, int]:
        """Text, by the tables `embed.word` and `embed.position`. Returns the scale of both, and their width."""
        scale = self.state.scale("qact_input")
        word, position = (self.state.array(f"embed.{name}", (None, None)) for name in ("word", "position"))
        tables = {"word": word, "position": position}
        self.hold("qact_input", **{key: quantized(table, scale, 16).astype(np.int16) for key, table in tables.items()})
        self.node("qact_input", "embedded")
        return scale, word.shape[1]

    def patch_embed(self, s_in: Array, image: tuple[int, int, int], patch: int | None) -> tuple[Array, int]:
        """The patch embedding `patch_embed.proj`. Returns the accumulators' scales and the side of a patch."""
        state, name = self.state, "patch_embed.proj"
        weight = state.integers(f"{name}.weight_integer", "int8", (None, image[0], patch, patch))
        dim, _, side, width = weight.shape
        if side != width:
            raise ModelError(f"tensor {name}.weight_integer must have square patches, not {side} x {width}")
        if image[1] % side or image[2] % side:
            raise ModelError(f"patches of {side} x {side} do not divide the image {image[1]} x {image[2]}")
        bias = state.integers(f"{name}.bias_integer", "int32", (dim,))
        self.hold(name, weight=weight.reshape(dim, -1), bias=bias)
        self.node(name, "patch_embed", "qact_input", patch=side)
        return state.weight_scale(f"{name}.conv_scaling_factor", dim) * s_in, side

    def quantized(self, name: str, values: Array, bits: int) -> tuple[Array, Array]:
        """Integers and scale of float constants whose quantizer is `name`."""
        scale = self.state.scale(name)
        return quantized(values, scale, bits).astype(f"int{bits}"), scale

    def constant(self, name: str, value: Array) -> None:
        self.hold(name, value=value)
        self.node(name, "constant")

    def scores(
        self, at: str, source: str, s_in: Array, dim: int, heads: int, *, use: str = "values", **windows: int
    ) -> tuple[Array, Array]:
        """Attention `at` from int8 tokens to int8 scores `qact_attn1`, for `use` as of `requantize`.

        Returns the scales of V, of all or of each channel, and of the scores.
        """
        scale = self.linear(f"{at}.qkv", source, s_in, dim, 3 * dim)
        s_qkv = self.requantize(f"{at}.qact1", f"{at}.qkv", scale, heads=3 * heads)
        query = key = value = s_qkv
        if np.size(s_qkv) > 1:
            query, key = (s_qkv[part * dim : (part + 1) * dim : dim // heads, None, None] for part in range(2))
            value = s_qkv[2 * dim :]
        self.node(f"{at}.matmul_1", "scores", f"{at}.qact1", heads=heads, **windows)
        scale = (query * key) * f32((dim // heads) ** -0.5)
        scale = self.requantize(
            f"{at}.qact_attn1", f"{at}.matmul_1", scale, use=use, heads=heads if use == "shiftmax" else 0, axis=-3
        )
        return value, scale

    def context(
        self, at: str, quantizer: str, probabilities: str, s_probability: Array, s_value: Array, heads: int,
        **windows: int,
    ) -> Array:  # fmt: skip
        """Attention `at` from probabilities to `quantizer`, by scales of all or of heads [heads, 1, 1] and of V's.

        Returns the quantizer's scale, of all or of each channel.
        """
        if np.ndim(s_probability):
            s_probability = np.repeat(s_probability.ravel(), np.size(s_value) // heads)
        s_in = s_probability * s_value
        self.node(f"{at}.matmul_2", "context", probabilities, f"{at}.qact1", heads=heads, **windows)
        return self.requantize(quantizer, f"{at}.matmul_2", s_in, self.input_bits(f"{at}.proj"), heads=heads)

    def exponent(self, name: str, source: str, scale: Array) -> tuple[Array, Array]:
        """I0 and fraction bits of Shiftmax `name` of scores `source`, of all heads [1] or of each [heads, 1, 1]."""
        del source
        return np.array([self.i0(name, softmax_i0(scale))]), np.zeros(1, np.int64)

    def shiftmax(self, name: str, *sources: str, scale: Array, bits: int) -> Array:
        """Shiftmax of the first of `sources`, with the second, if there is one, as mask. Returns its result's scale."""
        i0, fraction = self.exponent(name, sources[0], scale)
        self.hold(name, i0=i0.astype(np.int16), fraction=fraction.astype(np.int8))
        self.node(name, "shiftmax", *sources, bits=bits, terms=SOFTMAX_TERMS)
        return np.asarray(f32(2.0 ** (1 - bits)))

    def shift_gelu(self, name: str, source: str, scale: Array) -> Array:
        """ShiftGELU of int8 `source` of `scale`. Returns its result's scale."""
        self.node(name, "shift_gelu", source, i0=self.i0(name, gelu_i0(scale)), terms=GELU_TERMS)
        return scale * f32(2.0**-7)

    def gelu(self, mlp: str, scale: Array) -> tuple[str, Array]:
        """What stands behind fc1, whose sums have `scale`. Returns the node that fc2 reads and its scale."""
        scale = self.requantize(f"{mlp}.qact_gelu", f"{mlp}.fc1", scale, use="gelu")
        scale = self.shift_gelu(f"{mlp}.act", f"{mlp}.qact_gelu", scale)
        bits = self.input_bits(f"{mlp}.fc2")
        return f"{mlp}.qact1", self.requantize(f"{mlp}.qact1", f"{mlp}.act", scale, bits)

    def mlp(self, at: str, source: str, s_in: Array, dim: int) -> tuple[str, Array]:
        """The second half of block `at`, from int16 node `source`. Returns its last node and that one's scale."""
        mlp = f"{at}.mlp"
        scale = self.layer_norm(f"{at}.norm2", source, dim)
        scale = self.requantize(f"{at}.qact3", f"{at}.norm2", scale, self.input_bits(f"{mlp}.fc1"))
        scale = self.linear(f"{mlp}.fc1", f"{at}.qact3", scale, dim)
        hidden = len(scale)
        after, scale = self.gelu(mlp, scale)
        scale = self.linear(f"{mlp}.fc2", after, scale, hidden, dim)
        scale = self.requantize(f"{mlp}.qact2", f"{mlp}.fc2", scale, 16)
        return f"{at}.qact4", self.add(f"{at}.qact4", f"{mlp}.qact2", scale, source, s_in)

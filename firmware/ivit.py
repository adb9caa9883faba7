"""Import of the official I-ViT layout: from scales and integer weights to an integer model, the only floats there are.

The steps are those of the official modules, one float32 rounding each where those round, so that every dyadic
factor, I0 and bias equals the official one bit for bit. Activation scales come from the state; the quantizers'
ranges, which official checkpoints do not store, are not needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hw.spec.arith import GELU_TERMS, SOFTMAX_TERMS
from hw.spec.model import Model, ModelError, Node, validate

__all__ = ["dyadic", "gelu_i0", "model_from_state", "norm_bias", "norm_scale", "softmax_i0"]

Array = NDArray[Any]
f32 = np.float32


def dyadic(s_in: Array, s_out: Array) -> tuple[Array, Array]:
    """(m, e) with m/2^e = s_in/s_out, 2^30 <= |m| <= 2^31: float32 scales, one float64 division, round half away."""
    fraction, exponent = np.frexp(np.float64(s_in) / np.float64(s_out))
    scaled = fraction * 2.0**31  # exact, as is adding a half below 2^53
    mult = np.where(scaled < 0, -np.floor(0.5 - scaled), np.floor(scaled + 0.5)).astype(np.int64)
    return mult, 31 - exponent.astype(np.int64)


def softmax_i0(scale: Array) -> int:
    """I0 of Shiftmax: fl(1/scale), rounded up."""
    return int(np.ceil(f32(1) / f32(scale)))


def gelu_i0(scale: Array) -> int:
    """I0 of ShiftGELU, whose sigmoid sees the scale times 1.702: fl(1/fl(scale*1.702)), rounded up."""
    return int(np.ceil(f32(1) / (f32(scale) * f32(1.702))))


def norm_scale(gamma: Array) -> Array:
    """Scale of each channel of I-LayerNorm's output: fl(fl(sqrt C)*2^-30 * gamma), signed."""
    return np.sqrt(f32(len(gamma))) * f32(2.0**-30) * gamma.astype(f32)


def norm_bias(name: str, gamma: Array, beta: Array) -> Array:
    """Integer bias (int64) of I-LayerNorm `name`: floor(fl(fl(beta/gamma) / (fl(sqrt C)/2^30))).

    Raises ModelError where it leaves the 34 bits that the hardware has: gamma is too small.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        bias = np.floor((beta.astype(f32) / gamma.astype(f32)) / (np.sqrt(f32(len(gamma))) / f32(2.0**30)))
    fits = np.abs(bias) < 2.0**33  # false for NaN
    if not np.all(fits):
        channel = int(np.argmin(fits))
        raise ModelError(
            f"{name} channel {channel} needs an integer bias beyond 34 bits: gamma {gamma[channel]} is too small "
            f"for beta {beta[channel]}"
        )
    return bias.astype(np.int64)


class _State:
    """The state's tensors, checked as they are taken."""

    def __init__(self, state: Mapping[str, Array]):
        self.state = state

    def array(self, name: str, shape: tuple[int | None, ...] | None = None) -> Array:
        """A finite tensor; None in `shape` stands for any size."""
        if name not in self.state:
            raise ModelError(f"tensor {name} is missing from the state")
        array = np.asarray(self.state[name])
        if not np.all(np.isfinite(array)):
            raise ModelError(f"tensor {name} contains NaN or infinity")
        if shape is not None and (
            array.ndim != len(shape)
            or any(want not in {None, have} for want, have in zip(shape, array.shape, strict=True))
        ):
            wanted = ", ".join("any" if want is None else str(want) for want in shape)
            raise ModelError(f"tensor {name} must have shape [{wanted}], not {list(array.shape)}")
        return array

    def integers(self, name: str, dtype: str, shape: tuple[int | None, ...]) -> Array:
        """A tensor of whole numbers that fit `dtype`; official checkpoints store them as floats."""
        array, limits = self.array(name, shape), np.iinfo(dtype)
        if array.dtype.kind == "f" and np.any(array != np.rint(array)):
            raise ModelError(f"tensor {name} must hold whole numbers")
        if array.size and not (limits.min <= array.min() and array.max() <= limits.max):
            raise ModelError(f"tensor {name} must fit {dtype}, but spans {array.min()} to {array.max()}")
        return array.astype(dtype)

    def scale(self, name: str) -> Array:
        """The positive per-tensor scale of an activation quantizer, shape () or (1,), as a 0-d float32 array."""
        array = self.array(f"{name}.act_scaling_factor")
        if array.size != 1:
            raise ModelError(f"tensor {name}.act_scaling_factor must be one number, not {list(array.shape)}")
        if array.item() <= 0:
            raise ModelError(f"tensor {name}.act_scaling_factor must be positive, not {array.item()}")
        return np.asarray(array, f32).reshape(())

    def weight_scale(self, name: str, outputs: int) -> Array:
        array = self.array(name, (outputs,)).astype(f32)
        if np.any(array <= 0):
            raise ModelError(f"tensor {name} must be positive, but channel {int(array.argmin())} is {array.min()}")
        return array


class _Builder:
    """Nodes and tensors under construction; every method appends one node and returns its output's scale."""

    def __init__(self, state: Mapping[str, Array]):
        self.state = _State(state)
        self.nodes: list[Node] = []
        self.tensors: dict[str, Array] = {}

    def node(
        self, name: str, op: str, *inputs: str, tensors: Mapping[str, Array] | None = None, **attributes: int
    ) -> None:
        self.nodes.append(Node(name, op, inputs, attributes))
        self.tensors.update({f"{name}.{key}": value for key, value in (tensors or {}).items()})

    def factors(self, name: str, s_in: Array, s_out: Array) -> tuple[Array, Array]:
        """Dyadic factors as tensors of at least one dimension."""
        mult, shift = dyadic(np.atleast_1d(s_in), s_out)
        if np.any((shift < 0) | (shift > 63)):
            raise ModelError(
                f"the scales around {name} need a shift of {int(shift.min())} to {int(shift.max())}, beyond 0 to 63"
            )
        return mult, shift.astype(np.int8)

    def requantize(self, name: str, source: str, s_in: Array, bits: int = 8) -> Array:
        s_out = self.state.scale(name)
        mult, shift = self.factors(name, s_in, s_out)
        self.node(name, "requantize", source, tensors={"mult": mult, "shift": shift}, bits=bits)
        return s_out

    def add(self, name: str, source: str, s_in: Array, identity: str, s_identity: Array) -> Array:
        s_out = self.state.scale(name)
        mult, shift = self.factors(name, s_in, s_out)
        mult_identity, shift_identity = self.factors(name, s_identity, s_out)
        tensors = {"mult": mult, "shift": shift, "mult_identity": mult_identity, "shift_identity": shift_identity}
        self.node(name, "add", source, identity, tensors=tensors, bits=16)
        return s_out

    def linear(self, name: str, source: str, s_in: Array, inputs: int) -> Array:
        weight = self.state.integers(f"{name}.weight_integer", "int8", (None, inputs))
        bias = self.state.integers(f"{name}.bias_integer", "int32", (len(weight),))
        self.node(name, "linear", source, tensors={"weight": weight, "bias": bias})
        return self.state.weight_scale(f"{name}.fc_scaling_factor", len(weight)) * s_in

    def layer_norm(self, name: str, source: str, dim: int) -> Array:
        gamma, beta = self.state.array(f"{name}.weight", (dim,)), self.state.array(f"{name}.bias", (dim,))
        bias = norm_bias(name, gamma, beta)
        self.node(name, "layer_norm", source, tensors={"bias": bias})
        return norm_scale(gamma)

    def i0(self, name: str, value: int) -> int:
        if not 1 <= value <= 1023:
            raise ModelError(f"I0 of {name} must be from 1 to 1023, not {value}: its input's scale is out of range")
        return value

    def embed(self, image: tuple[int, int, int], patch: int) -> tuple[Array, int]:
        """Image to tokens. Returns the scale of `qact1` and the width of the model."""
        state, name = self.state, "patch_embed.proj"
        weight = state.integers(f"{name}.weight_integer", "int8", (None, image[0], patch, patch))
        dim = len(weight)
        bias = state.integers(f"{name}.bias_integer", "int32", (dim,))
        self.node("qact_input", "input")
        self.node(
            name, "patch_embed", "qact_input", tensors={"weight": weight.reshape(dim, -1), "bias": bias}, patch=patch
        )
        scale = state.weight_scale(f"{name}.conv_scaling_factor", dim) * state.scale("qact_input")
        scale = self.requantize("patch_embed.qact", name, scale, 16)
        cls = np.rint(state.array("cls_token", (1, 1, dim)).astype(f32) / scale)  # not clamped: may exceed int16
        if np.any(np.abs(cls) >= 2.0**31):
            raise ModelError("cls_token does not fit 32 bits at the scale of patch_embed.qact")
        self.node("cls_token", "concat_cls", "patch_embed.qact", tensors={"cls": cls.reshape(1, dim).astype(np.int32)})
        tokens = (image[1] // patch) * (image[2] // patch) + 1
        s_pos = state.scale("qact_pos")
        position = np.rint((f32(1) / s_pos) * state.array("pos_embed", (1, tokens, dim)).astype(f32))
        value = np.clip(position, -32768, 32767).astype(np.int16).reshape(tokens, dim)
        self.node("qact_pos", "constant", tensors={"value": value})
        return self.add("qact1", "cls_token", scale, "qact_pos", s_pos), dim

    def block(self, at: str, source: str, s_in: Array, dim: int, heads: int, attention_bits: int) -> tuple[str, Array]:
        """One encoder block reading node `source`. Returns its last node and that one's scale."""
        attn, mlp = f"{at}.attn", f"{at}.mlp"
        scale = self.layer_norm(f"{at}.norm1", source, dim)
        scale = self.requantize(f"{at}.qact1", f"{at}.norm1", scale)
        scale = self.linear(f"{attn}.qkv", f"{at}.qact1", scale, dim)
        s_qkv = self.requantize(f"{attn}.qact1", f"{attn}.qkv", scale)
        self.node(f"{attn}.matmul_1", "scores", f"{attn}.qact1", heads=heads)
        scale = (s_qkv * s_qkv) * f32((dim // heads) ** -0.5)
        scale = self.requantize(f"{attn}.qact_attn1", f"{attn}.matmul_1", scale)
        self.node(
            f"{attn}.int_softmax", "shiftmax", f"{attn}.qact_attn1", bits=attention_bits, terms=SOFTMAX_TERMS,
            i0=self.i0(f"{attn}.int_softmax", softmax_i0(scale)),
        )  # fmt: skip
        self.node(f"{attn}.matmul_2", "context", f"{attn}.int_softmax", f"{attn}.qact1", heads=heads)
        scale = self.requantize(f"{attn}.qact2", f"{attn}.matmul_2", f32(2.0 ** (1 - attention_bits)) * s_qkv)
        scale = self.linear(f"{attn}.proj", f"{attn}.qact2", scale, dim)
        scale = self.requantize(f"{attn}.qact3", f"{attn}.proj", scale, 16)
        s_mid = self.add(f"{at}.qact2", f"{attn}.qact3", scale, source, s_in)
        scale = self.layer_norm(f"{at}.norm2", f"{at}.qact2", dim)
        scale = self.requantize(f"{at}.qact3", f"{at}.norm2", scale)
        scale = self.linear(f"{mlp}.fc1", f"{at}.qact3", scale, dim)
        hidden = len(scale)
        scale = self.requantize(f"{mlp}.qact_gelu", f"{mlp}.fc1", scale)
        i0 = self.i0(f"{mlp}.act", gelu_i0(scale))
        self.node(f"{mlp}.act", "shift_gelu", f"{mlp}.qact_gelu", i0=i0, terms=GELU_TERMS)
        scale = self.requantize(f"{mlp}.qact1", f"{mlp}.act", scale * f32(2.0**-7))
        scale = self.linear(f"{mlp}.fc2", f"{mlp}.qact1", scale, hidden)
        scale = self.requantize(f"{mlp}.qact2", f"{mlp}.fc2", scale, 16)
        return f"{at}.qact4", self.add(f"{at}.qact4", f"{mlp}.qact2", scale, f"{at}.qact2", s_mid)


def model_from_state(
    state: Mapping[str, Array],
    *,
    name: str,
    patch: int,
    heads: int,
    image: tuple[int, int, int],
    mean: Sequence[float],
    std: Sequence[float],
    attention_bits: int = 16,
    labels: Sequence[str] = (),
) -> Model:
    """The integer model of a ViT or DeiT state in the official I-ViT layout; `image` is (C, H, W).

    Needs `*.weight_integer`, `*.bias_integer`, every scaling factor, the norms' weight and bias, `cls_token` and
    `pos_embed`; integers may be stored as floats. `attention_bits` 8 takes 8-bit probabilities, the paper's
    deployment; official training uses 16. Raises ModelError, in one sentence, for anything missing or impossible.
    """
    if attention_bits not in {8, 16}:
        raise ModelError(f"attention_bits must be 8 or 16, not {attention_bits}")
    depth = len({key.split(".")[1] for key in state if key.startswith("blocks.")})
    if not depth:
        raise ModelError("the state has no blocks.0, so it is no ViT in the official layout")
    build = _Builder(state)
    scale, dim = build.embed(image, patch)
    if dim % heads:
        raise ModelError(f"{heads} heads do not divide the width {dim}")
    at = "qact1"
    for index in range(depth):
        at, scale = build.block(f"blocks.{index}", at, scale, dim, heads, attention_bits)
    scale = build.layer_norm("norm", at, dim)
    build.node("class_token", "class_token", "norm")
    scale = build.requantize("qact2", "class_token", scale)
    logit_scale = build.linear("head", "qact2", scale, dim)
    model = Model(
        name=name, image=image, patch=patch, dim=dim, depth=depth, heads=heads,
        hidden=len(build.tensors["blocks.0.mlp.fc1.weight"]), classes=len(logit_scale), nodes=tuple(build.nodes),
        tensors=build.tensors, input_scale=float(build.state.scale("qact_input")), mean=tuple(mean), std=tuple(std),
        logit_scale=logit_scale, labels=tuple(labels),
    )  # fmt: skip
    validate(model)
    return model

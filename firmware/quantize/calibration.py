"""A float network on its way to integers: builds the graph of `firmware.ivit` and runs it while it is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware.ivit.builder import Builder
from firmware.ivit.constants import quantized
from firmware.quantize.ranges import symmetric_scale
from hw.spec.laws import evaluate
from hw.spec.model import ModelError, Node

__all__ = ["Calibration"]

Array = NDArray[Any]
f32 = np.float32
_BATCH = 16  # images per step of the running range, and of the laws, which need many times the memory of their result
_BITS = dict.fromkeys(
    ("linear", "patch_embed", "scores", "context", "shift_gelu"), 32
)  # where it is no attribute, or 64


class Calibration(Builder):
    """Chooses what an official state would hold as the graph needs it, and stores it as such a state.

    Every node is evaluated on the calibration `images` (float, normalised) as soon as it is there, in exact integers;
    an activation's scale is chosen by `ranges` from what the integer operators before it computed. `weights` are
    floats under official names.
    """

    def __init__(self, weights: Mapping[str, Array], images: Array, ranges: Callable[[list[Array]], float]) -> None:
        self.weights, self.images, self.ranges = weights, images, ranges
        whole = ("cls_token", "pos_embed", "relative_position_bias_table")
        self.made = {name: self._float(name) for name in weights if name.endswith(whole)}
        super().__init__(self.made)
        self._values: dict[str, Array] = {}

    def _float(self, name: str) -> Array:
        if name not in self.weights:
            raise ModelError(f"tensor {name} is missing from the checkpoint")
        value = np.asarray(self.weights[name])
        if not np.all(np.isfinite(value)):
            raise ModelError(f"tensor {name} contains NaN or infinity")
        return value.astype(f32)

    def _observe(self, name: str, real: Array, bits: int) -> None:
        """Chooses the scale of quantizer `name` from the values it gets, images first."""
        limit = self.ranges([real[i : i + _BATCH] for i in range(0, len(real), _BATCH)])
        self.made[f"{name}.act_scaling_factor"] = np.asarray(symmetric_scale(limit, bits), f32)

    def _real(self, node: str, scale: Array) -> Array:
        return self._values[node] * np.asarray(scale, np.float64)

    def _weights(self, name: str, s_in: Array, kind: str, *, bias: bool) -> None:
        """Quantizes weights per output channel, and the bias to the accumulator's scale."""
        weight = self._float(f"{name}.weight")
        if weight.ndim < 2 or not weight.size:
            raise ModelError(f"tensor {name}.weight must be a matrix, not {list(weight.shape)}")
        flat = weight.reshape(len(weight), -1)
        scale = np.maximum(np.abs(flat).max(1) / f32(127), f32(2.0**-23))
        self.made[f"{name}.weight_integer"] = quantized(flat, scale[:, None], 8).astype(np.int8).reshape(weight.shape)
        self.made[f"{name}.{kind}_scaling_factor"] = scale
        if bias:
            offset = np.zeros(len(flat), f32) if f"{name}.bias" not in self.weights else self._float(f"{name}.bias")
            if offset.shape != scale.shape:
                raise ModelError(f"tensor {name}.bias must have shape {list(scale.shape)}, not {list(offset.shape)}")
            self.made[f"{name}.bias_integer"] = quantized(offset, scale * f32(s_in), 32).astype(np.int32)

    # The graph

    def node(self, name: str, op: str, *inputs: str, **attributes: int) -> None:
        super().node(name, op, *inputs, **attributes)
        node = self.nodes[-1]
        if op == "input":
            value = quantized(self.images, self.state.scale(name), 8).astype(np.int8)
        else:
            value = self._evaluate(node, attributes.get("bits", _BITS.get(op, 64)))
        if op == "add" and attributes["bits"] == 16:
            self._values.clear()  # the residual stream: nothing before it is read again
        self._values[name] = value

    def _evaluate(self, node: Node, bits: int) -> Array:
        """What `node` computes, for a few images at a time; constants are the same for all."""
        inputs = [self._values[source] for source in node.inputs]
        if not inputs:
            return evaluate(self.tensors, node, [])
        return np.concatenate([
            evaluate(self.tensors, node, [x if len(x) == 1 else x[i : i + _BATCH] for x in inputs]).astype(f"int{bits}")
            for i in range(0, len(self.images), _BATCH)
        ])  # fmt: skip

    def input(self) -> Array:
        self._observe("qact_input", self.images, 8)
        return super().input()

    def patch_embed(self, s_in: Array, image: tuple[int, int, int], patch: int | None) -> tuple[Array, int]:
        self._weights("patch_embed.proj", s_in, "conv", bias=True)
        return super().patch_embed(s_in, image, patch)

    def quantized(self, name: str, values: Array, bits: int) -> tuple[Array, Array]:
        self._observe(name, values, bits)
        return super().quantized(name, values, bits)

    def requantize(self, name: str, source: str, s_in: Array, bits: int = 8) -> Array:
        self._observe(name, self._real(source, s_in), bits)
        return super().requantize(name, source, s_in, bits)

    def add(self, name: str, source: str, s_in: Array, identity: str, s_identity: Array, bits: int = 16) -> Array:
        self._observe(name, self._real(source, s_in) + self._real(identity, s_identity), bits)
        return super().add(name, source, s_in, identity, s_identity, bits)

    def linear(
        self, name: str, source: str, s_in: Array, inputs: int, outputs: int | None = None, *, bias: bool = True
    ) -> Array:
        self._weights(name, s_in, "fc", bias=bias)
        return super().linear(name, source, s_in, inputs, outputs, bias=bias)

    def layer_norm(self, name: str, source: str, dim: int) -> Array:
        self.made[f"{name}.weight"], self.made[f"{name}.bias"] = (
            self._float(f"{name}.{part}") for part in ("weight", "bias")
        )
        return super().layer_norm(name, source, dim)

"""What a calibration decided, node by node: enough to put any part of it into the float network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware.families import Family
from hw.spec.operators import OPERATORS, ConcatCls, Constant, Mean, Node

__all__ = ["Code", "Record"]

Array = NDArray[Any]
f32 = np.float32


@dataclass(frozen=True, kw_only=True)
class Code:
    """What a node's integers mean: real = integer * scale + centre, of all, of each channel or of each head.

    Integers of a quantizer have `bits`; those of None have as many as they need.
    """

    scale: Array
    centre: float | Array = 0.0
    bits: int | None = None

    def steps(self, real: Array) -> Array:
        """Whole numbers (float64), not clamped."""
        steps: Array = np.rint((real - self.centre) / self.scale)
        return steps

    def clamped(self, steps: Array) -> Array:
        limit = 1 << ((self.bits or 64) - 1)
        return np.clip(steps, -limit, limit - 1)

    def real(self, integers: Array) -> Array:
        """float64."""
        real: Array = integers * self.scale + self.centre
        return real


class Record:
    """Filled node by node, in the order of execution, by the `Measurement` that a calibration tells everything.

    `weights` are the float network of `family` whose scales these are, which a recipe may have balanced in another way
    than the checkpoint's: the calibration's own copy, which it changes until the graph is finished. `images` are
    normalised floats [n, C, H, W].
    """

    def __init__(self, weights: Mapping[str, Array], images: Array, family: Family) -> None:
        self.weights, self.images, self.family = weights, images, family
        self.nodes: list[Node] = []
        self.tensors: dict[str, Array] = {}
        self.codes: dict[str, Code] = {}  # of nodes whose scale was chosen or follows from a law
        self.quantizers: list[str] = []  # nodes whose output has a code of its own, constants not among them
        self.parameters: list[str] = []  # nodes with weights or constants that are quantized
        self.inputs: list[str] = []  # linears of whose input the recipe was asked how many bits it has
        self._stored: dict[str, tuple[Array, Array]] = {}  # of weights: integers, and what one of them is worth
        self._biases: dict[str, Array] = {}  # those that the integers stand for

    def node(self, node: Node, tensors: Mapping[str, Array], code: Code | None) -> None:
        """`node` has these `tensors` now; `code` is what its quantizer's integers mean, if it is one."""
        operator = OPERATORS[node.op]
        self.nodes.append(node)
        for name in (f"{node.name}.{tensor.name}" for tensor in operator.constants):
            self.tensors[name] = tensors[name]
        if code is not None:
            self.codes[node.name] = code
            if operator.quantizes:
                self.quantizers.append(node.name)
        if (node.op == Constant.name and code is not None) or node.op == ConcatCls.name or node.name in self._stored:
            self.parameters.append(node.name)
        if code is None and (operator.moves or node.op == Mean.name) and node.inputs[0] in self.codes:
            self.codes[node.name] = self.codes[node.inputs[0]]

    def scale(self, name: str, scale: Array) -> None:
        """One of the integers of operator `name` is worth `scale`."""
        self.codes[name] = Code(scale=scale)

    def weight(self, name: str, integers: Array, scale: Array) -> None:
        """The weights of `name` are `integers` [out, in] times `scale`, which broadcasts to them."""
        self._stored[name] = (integers, scale)

    def bias(self, name: str, bias: Array) -> None:
        """The integer bias of `name` stands for `bias` [out]."""
        self._biases[name] = bias

    def quantized_weights(self) -> dict[str, Array]:
        """`weights` (float32), but matrices, their biases and class tokens are what the integers stand for."""
        found = dict(self.weights)
        for name, (integers, scale) in self._stored.items():
            found[f"{name}.weight"] = (integers * scale).astype(f32)
            if f"{name}.bias" in found:
                found[f"{name}.bias"] = self._biases[name].astype(f32)
        for node in self.nodes:
            if node.op == ConcatCls.name:
                code = self.codes[node.inputs[0]]
                found["cls_token"] = code.real(self.tensors[f"{node.name}.cls"])[None].astype(f32)
        return found

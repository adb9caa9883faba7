"""The float network with parts of its quantization in it.

Three things make an integer model differ from its float network, and each can be had by itself, node by node:

- *weights*: a linear's matrix and bias, a class token or a constant that is what its integers stand for;
- *operators*: the error of an integer law where it works, f(x) + (law(q(x)) - f(q(x))) with q the codes of its input,
  whose own rounding is therefore not counted;
- *activations*: the output of a quantizer, rounded and clamped to its codes.

The error of an addition's two roundings and of a table's output is an activation's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware.quantizer.measure import sqnr
from firmware.quantizer.ragged import evaluate_ragged
from firmware.quantizer.record import Record
from firmware.quantizer.reference import Reference
from hw.spec.operators import (
    OPERATORS,
    Add,
    Constant,
    IntGelu,
    IntLayerNorm,
    IntSoftmax,
    L1LayerNorm,
    LayerNorm,
    LogIntSoftmax,
    Mean,
    Node,
    ShiftGelu,
    Shiftmax,
    Table,
)

__all__ = ["KINDS", "Effects", "LossyNetwork"]

Array = NDArray[Any]
f32 = np.float32

KINDS = {
    "softmax": {Shiftmax.name, IntSoftmax.name, LogIntSoftmax.name},
    "GELU": {ShiftGelu.name, Table.name, IntGelu.name},
    "norm": {LayerNorm.name, IntLayerNorm.name, L1LayerNorm.name},
    "pooling": {Mean.name},
}
"""Integer operators that only approximate what timm computes, by what people call them."""


@dataclass(frozen=True, kw_only=True)
class Effects:
    """Names of nodes that have what the integer model has; everything else is float."""

    parameters: Collection[str] = frozenset()
    operators: Collection[str] = frozenset()
    quantizers: Collection[str] = frozenset()


class LossyNetwork:
    """The float network of a `record` on `images`, normalised floats [n, C, H, W]."""

    def __init__(self, record: Record, images: Array) -> None:
        self.record, self._images = record, images
        self._float = Reference(record.weights, images, record.family)
        self._last = {name: index for index, node in enumerate(record.nodes) for name in node.inputs}
        self.own: dict[str, float] = {}  # SQNR of operators' errors by themselves in dB, of those that were computed

    @cached_property
    def _quantized(self) -> Reference:
        return Reference(self.record.quantized_weights(), self._images, self.record.family)

    def operators(self, kind: str) -> frozenset[str]:
        """The nodes of one of `KINDS`."""
        return frozenset(node.name for node in self.record.nodes if node.op in KINDS[kind])

    def run(self, effects: Effects, *, values: dict[str, Array] | None = None, first: int = 0,
            told: Callable[[Node], object] = lambda _: None) -> Array:  # fmt: skip
        """Outputs [n, width] (float64), from node number `first` on, given the `values` of those before it.

        `values` are left without what is not read again. `told` is called with every node that was computed.
        """
        values = {} if values is None else values
        for index in range(first, len(self.record.nodes)):
            self.step(index, values, effects)
            told(self.record.nodes[index])
        return values[self.record.nodes[-1].name].astype(np.float64)

    def step(self, index: int, values: dict[str, Array], effects: Effects) -> list[Array]:
        """Adds the value of node number `index`, and drops what only it has still read. Returns its inputs."""
        node = self.record.nodes[index]
        inputs = [values[name] for name in node.inputs]
        for name in node.inputs:
            if self._last[name] == index:
                values.pop(name, None)
        values[node.name] = self._value(node, inputs, effects)
        return inputs

    def _value(self, node: Node, inputs: list[Array], effects: Effects) -> Array:
        if node.name not in effects.parameters:
            value = self._float.compute(node, self.record.tensors, inputs)
        elif node.op == Constant.name:
            value = self.record.codes[node.name].real(self.record.tensors[f"{node.name}.value"])[None].astype(f32)
        else:
            value = self._quantized.compute(node, self.record.tensors, inputs)
        if node.name in effects.operators:
            found = value + self.error(node, inputs)
            self.own[node.name] = sqnr(value, found)
            value = found
        if node.name in effects.quantizers:
            value = self.quantized(node, inputs, value)
        return value

    def error(self, node: Node, inputs: list[Array]) -> Array:
        """What the law of `node` adds to its float function, at the codes that its inputs have; image by image."""
        return np.concatenate([self._error(node, [x[:1] if len(x) == 1 else x[i : i + 1] for x in inputs], i)
                               for i in range(len(inputs[0]))])  # fmt: skip

    def _error(self, node: Node, inputs: list[Array], image: int) -> Array:
        x, *others = inputs  # the others are masks
        code = self.record.codes[node.inputs[0]]
        integers = code.clamped(code.steps(x))
        alone = Reference(self.record.weights, self._images[image : image + 1], self.record.family)
        given = [each.astype(np.int64) for each in (integers, *others)]
        laws = evaluate_ragged(self.record.tensors, node, given, alone.lengths)
        exact = alone.compute(node, self.record.tensors, [code.real(integers).astype(f32), *others])
        if OPERATORS[node.op].quantizes:
            exact = self.quantized(node, inputs, exact)
        return (self.record.codes[node.name].real(laws) - exact).astype(f32)

    def quantized(self, node: Node, inputs: list[Array], value: Array) -> Array:
        """What the codes of quantizer `node` make of its float `value`; an addition rounds each of its `inputs`."""
        code = self.record.codes[node.name]
        steps = np.add(*map(code.steps, inputs)) if node.op == Add.name else code.steps(value)
        return code.real(code.clamped(steps)).astype(f32)

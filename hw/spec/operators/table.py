"""Functions of a byte."""

from __future__ import annotations

import numpy as np

from hw.spec.operators.operator import Array, Attribute, Laws, ModelError, Operator, Tensor, Value, register

__all__ = ["Table"]


@register
class Table(Operator):
    """entries[x + 128] of int8 x: GELU, SiLU, tanh or any other function, requantization included; `bits` wide."""

    name = "table"
    local = 0
    attributes = (Attribute("bits", (8, 16), "width of the output"),)
    constants = (Tensor("entries", -(1 << 15), (1 << 15) - 1, "[256]", "results, from that of x = -128 on"),)
    quantizes = True
    law = "table"

    def infer(self, x: Value) -> Value:
        self.need(x, len(x.shape), 8)
        entries, most = self.tensor("entries"), (1 << (self["bits"] - 1)) - 1
        if entries.shape != (256,):
            raise ModelError(f"tensor {self.node.name}.entries must have shape [256], not {list(entries.shape)}")
        if np.any((entries < -most - 1) | (entries > most)):
            raise ModelError(
                f"tensor {self.node.name}.entries must be from {-most - 1} to {most} for {self['bits']} bits, not "
                f"{int(entries.min())} to {int(entries.max())}"
            )
        return Value(x.shape, self["bits"])

    def evaluate(self, laws: Laws, x: Array) -> Array:
        return laws.table(x, self.tensor("entries"))

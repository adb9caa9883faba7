"""What operators with a weight matrix share."""

from __future__ import annotations

import numpy as np

from hw.spec.operators.operator import ModelError, Operator, Tensor, Value

__all__ = ["BIAS", "Weighted"]

BIAS = Tensor("bias", -(1 << 31), (1 << 31) - 1, "[outputs]", "added to the sums")


class Weighted(Operator):
    """Products with a matrix ``weight`` and a ``bias``."""

    law = "linear"

    def outputs(self, depth: int, bits: int = 8) -> int:
        """Outputs of a weight matrix of the given depth, whose int32 accumulators provably do not wrap for inputs of
        `bits` bits."""
        weight, bias, name = self.tensor("weight"), self.tensor("bias"), self.node.name
        if weight.ndim != 2 or weight.shape[1] != depth:
            raise ModelError(f"tensor {name}.weight must have shape [outputs, {depth}], not {list(weight.shape)}")
        if bias.shape != weight.shape[:1]:
            raise ModelError(f"tensor {name}.bias must have shape [{len(weight)}], not {list(bias.shape)}")
        bound = (1 << (bits - 1)) * np.abs(weight.astype(np.int64)).sum(axis=1) + np.abs(bias.astype(np.int64))
        if np.any(bound >= 1 << 31):
            raise ModelError(
                f"accumulator {int(bound.argmax())} of {name} can exceed 32 bits: it can reach {bound.max()}"
            )
        return len(weight)

    def macs(self, value: Value, *_inputs: Value) -> int:
        return int(np.prod(value.shape)) * self.tensor("weight").shape[1]

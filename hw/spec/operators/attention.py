"""What the two products of attention share: how a tensor holds queries, keys and values of all heads."""

from __future__ import annotations

import numpy as np

from hw.spec.operators.operator import Array, Attribute, ModelError, Operator, Value

__all__ = ["Attention", "split"]


class Attention(Operator):
    """A product of two of Q, K, V, which are int8 qkv [n, 3*dim] in the order [3, heads, dim/heads]."""

    attributes = (
        Attribute("heads", range(1, 1 << 10), "they divide dim"),
        Attribute("windows", range(1, 1 << 16), "each attends to itself; without it there is one", optional=True),
    )  # fmt: skip
    law = "matmul"

    def probabilities(self, qkv: Value) -> tuple[int, ...]:
        """Shape of the scores of a qkv tensor. Raises ModelError if heads or windows do not divide it."""
        self.need(qkv, 2, 8)
        heads, windows = self["heads"], self.node.attributes.get("windows", 1)
        rows, channels = qkv.shape
        if channels % (3 * heads):
            raise ModelError(f"{self} cannot split {channels} channels into 3 x {heads} heads")
        if rows % windows:
            raise ModelError(f"{self} cannot split {rows} tokens into {windows} windows")
        leading = (windows,) if "windows" in self.node.attributes else ()
        return (*leading, heads, rows // windows, rows // windows)

    def parts(self, qkv: Array) -> Array:
        return split(qkv, **self.node.attributes)

    def products(self, probabilities: Value, qkv: Value) -> int:
        """Multiply-accumulates of Q @ K.T or P @ V."""
        return int(np.prod(probabilities.shape)) * (qkv.shape[1] // 3 // self["heads"])


def split(qkv: Array, heads: int, windows: int | None = None) -> Array:
    """[B, windows*n, 3*dim], of any type -> [3, B, windows, heads, n, dim/heads]; None: there is no axis of windows."""
    leading = () if windows is None else (windows,)
    parts = qkv.reshape(len(qkv), *leading, -1, 3, heads, qkv.shape[2] // (3 * heads))
    return np.moveaxis(parts, (-3, -2), (0, -3))

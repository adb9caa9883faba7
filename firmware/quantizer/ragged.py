"""Texts of different lengths side by side.

Each is repeated to the length of the longest. A token's copies are computed like the token itself, so whatever is done
token by token and every statistic of it holds; only attention and pooling must not read beyond the text's end. So
every number is that of the text alone, in floats and in integers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hw.spec.operators import IntSoftmax, LogIntSoftmax, Node, Pool, Shiftmax, evaluate

__all__ = ["ended", "evaluate_ragged", "mean_of"]

Array = NDArray[Any]
_SOFTMAXES = (Shiftmax.name, IntSoftmax.name, LogIntSoftmax.name)


def ended(x: Array, lengths: Array | None, fill: float) -> Array:
    """Rows of scores [B, ..., n] with `fill` behind the end of each text."""
    if lengths is None:
        return x
    behind = np.arange(x.shape[-1]) >= lengths.reshape(-1, *[1] * (x.ndim - 1))
    return np.where(behind, np.asarray(fill, x.dtype), x)


def mean_of(node: Node, x: Array, lengths: Array | None) -> Array:
    """The mean of the tokens [B, n, C] that Pool `node` sums up."""
    first, count = node.attributes["first"], node.attributes.get("count", x.shape[1])
    if lengths is None:
        mean: Array = x[:, first : first + count].mean(axis=1)
        return mean
    return np.stack([
        tokens[first : min(first + count, length)].mean(axis=0) for tokens, length in zip(x, lengths, strict=True)
    ])  # fmt: skip


def evaluate_ragged(tensors: Mapping[str, Array], node: Node, inputs: Sequence[Array], lengths: Array | None) -> Array:
    """The law of `node`; a sum over the tokens is as if each text had as many as the longest."""
    if lengths is None or node.op not in {*_SOFTMAXES, Pool.name}:
        return evaluate(tensors, node, inputs)
    (x,) = inputs
    if node.op == Pool.name:
        return mean_of(node, x, lengths) * node.attributes.get("count", x.shape[1])
    found = np.zeros(x.shape, np.int64)
    for length in np.unique(lengths):
        those = lengths == length
        found[those, ..., :length] = evaluate(tensors, node, [x[those][..., :length]])
    return found

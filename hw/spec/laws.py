"""The laws of a graph's operators, composed of `hw.spec.arith`: what each node computes, batch first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hw.spec import arith
from hw.spec.operators import OPERATORS, Node

__all__ = ["evaluate"]

Array = NDArray[Any]
Tensors = Mapping[str, Array]
Attributes = Mapping[str, int]


def evaluate(tensors: Tensors, node: Node, inputs: Sequence[Array]) -> Array:
    """Output of one node (not the input), batch first; int64 unless it is a constant, which has a batch of one.

    `tensors` are the model's, by "<node>.<tensor>"; `inputs` are the outputs of the node's inputs. Nothing is checked:
    `hw.spec.model.validate` does that, once.
    """
    own = {name: tensors[f"{node.name}.{name}"] for name in OPERATORS[node.op].tensors}
    return _LAWS[node.op](own, node.attributes, *inputs)


def _patch_embed(tensors: Tensors, attributes: Attributes, x: Array) -> Array:
    patch = attributes["patch"]
    batch, channels, height, width = x.shape
    x = x.reshape(batch, channels, height // patch, patch, width // patch, patch).transpose(0, 2, 4, 1, 3, 5)
    x = x.reshape(batch, (height // patch) * (width // patch), channels * patch * patch)
    return arith.linear(x, tensors["weight"], tensors["bias"])


def _concat_cls(tensors: Tensors, _attributes: Attributes, x: Array) -> Array:
    cls = np.broadcast_to(tensors["cls"], (len(x), 1, x.shape[2]))
    return np.concatenate([cls.astype(np.int64), x], axis=1)


def _add(tensors: Tensors, attributes: Attributes, x: Array, identity: Array) -> Array:
    return arith.requantize(
        x, tensors["mult"], tensors["shift"], attributes["bits"],
        identity=identity, mult_identity=tensors["mult_identity"], shift_identity=tensors["shift_identity"],
    )  # fmt: skip


def _split(qkv: Array, attributes: Attributes) -> Array:
    """[B, windows*n, 3*dim] -> [3, B, windows, heads, n, dim/heads]; no axis of windows where there are none."""
    leading = (attributes["windows"],) if "windows" in attributes else ()
    heads = attributes["heads"]
    parts = qkv.reshape(len(qkv), *leading, -1, 3, heads, qkv.shape[2] // (3 * heads))
    return np.moveaxis(parts, (-3, -2), (0, -3))


def _scores(_tensors: Tensors, attributes: Attributes, qkv: Array) -> Array:
    query, key, _ = _split(qkv, attributes)
    return arith.matmul(query, key.swapaxes(-1, -2))


def _context(_tensors: Tensors, attributes: Attributes, probabilities: Array, qkv: Array) -> Array:
    _, _, value = _split(qkv, attributes)
    out = arith.matmul(probabilities, value).swapaxes(-2, -3)  # [B, windows, n, heads, d]
    return out.reshape(*qkv.shape[:2], -1)


def _shiftmax(_tensors: Tensors, a: Attributes, x: Array, mask: Array | None = None) -> Array:
    if mask is not None:
        mask = mask[:, :, None]  # the same for every head
    return arith.shiftmax(x, a["i0"], a["bits"], a["terms"], mask)


def _window_partition(_tensors: Tensors, a: Attributes, x: Array) -> Array:
    height, width, window, shift = a["height"], a["width"], a["window"], a["shift"]
    grid = np.roll(x.reshape(len(x), height, width, -1), (-shift, -shift), (1, 2))
    grid = grid.reshape(len(x), height // window, window, width // window, window, -1)
    return grid.swapaxes(2, 3).reshape(x.shape)


def _window_reverse(_tensors: Tensors, a: Attributes, x: Array) -> Array:
    height, width, window, shift = a["height"], a["width"], a["window"], a["shift"]
    grid = x.reshape(len(x), height // window, width // window, window, window, -1).swapaxes(2, 3)
    return np.roll(grid.reshape(len(x), height, width, -1), (shift, shift), (1, 2)).reshape(x.shape)


def _merge(_tensors: Tensors, a: Attributes, x: Array) -> Array:
    grid = x.reshape(len(x), a["height"] // 2, 2, a["width"] // 2, 2, x.shape[2])
    return grid.transpose(0, 1, 3, 4, 2, 5).reshape(len(x), x.shape[1] // 4, -1)  # column parity before row parity


_LAWS: dict[str, Callable[..., Array]] = {
    "patch_embed": _patch_embed,
    "concat_cls": _concat_cls,
    "constant": lambda tensors, _: tensors["value"][None],
    "linear": lambda tensors, _, x: arith.linear(x, tensors["weight"], tensors["bias"]),
    "requantize": lambda tensors, a, x: arith.requantize(x, tensors["mult"], tensors["shift"], a["bits"]),
    "add": _add,
    "layer_norm": lambda tensors, _, x: arith.layer_norm(x, tensors["bias"]),
    "scores": _scores,
    "context": _context,
    "shiftmax": _shiftmax,
    "shift_gelu": lambda _, a, x: arith.shift_gelu(x, a["i0"], a["terms"]),
    "class_token": lambda _, __, x: x[:, 0],
    "window_partition": _window_partition,
    "window_reverse": _window_reverse,
    "merge": _merge,
    "mean": lambda _, __, x: arith.divide_round(x.sum(axis=1), x.shape[1]),
}

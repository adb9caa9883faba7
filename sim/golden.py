"""The golden model: a whole integer Vision Transformer in NumPy, composed of `hw.spec.arith` laws only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hw.spec import arith
from hw.spec.model import Model, Node

__all__ = ["evaluate", "run"]

Array = NDArray[Any]


def run(model: Model, images: Array, trace: dict[str, Array] | None = None) -> Array:
    """Logit accumulators [B, classes] (int32) of int8 images [B, C, H, W].

    With `trace`, every node's output is stored there under the node's name, batch first.
    """
    if images.dtype != np.int8 or images.shape[1:] != model.image:
        raise ValueError(
            f"images must be int8 [B, {', '.join(map(str, model.image))}], not {images.dtype} {images.shape}"
        )
    values: dict[str, Array] = {} if trace is None else trace
    last = {name: index for index, node in enumerate(model.nodes) for name in node.inputs}
    for index, node in enumerate(model.nodes):
        values[node.name] = images if node.op == "input" else evaluate(model, node, [values[n] for n in node.inputs])
        if trace is None:
            for name in {name for name in node.inputs if last[name] == index}:
                del values[name]
    logits = values[model.nodes[-1].name]
    return logits.astype(np.int32)


def evaluate(model: Model, node: Node, inputs: list[Array]) -> Array:
    """Output of one node (not the input), batch first; int64 unless it is a constant, which has a batch of one."""
    return _LAWS[node.op](lambda name: model.tensor(node, name), node.attributes, *inputs)


def _patch_embed(tensor: Any, attributes: Any, x: Array) -> Array:
    patch = attributes["patch"]
    batch, channels, height, width = x.shape
    x = x.reshape(batch, channels, height // patch, patch, width // patch, patch).transpose(0, 2, 4, 1, 3, 5)
    x = x.reshape(batch, (height // patch) * (width // patch), channels * patch * patch)
    return arith.linear(x, tensor("weight"), tensor("bias"))


def _concat_cls(tensor: Any, _attributes: Any, x: Array) -> Array:
    cls = np.broadcast_to(tensor("cls"), (len(x), 1, x.shape[2]))
    return np.concatenate([cls.astype(np.int64), x], axis=1)


def _add(tensor: Any, attributes: Any, x: Array, identity: Array) -> Array:
    return arith.requantize(
        x, tensor("mult"), tensor("shift"), attributes["bits"],
        identity=identity, mult_identity=tensor("mult_identity"), shift_identity=tensor("shift_identity"),
    )  # fmt: skip


def _split(qkv: Array, attributes: Any) -> Array:
    """[B, windows*n, 3*dim] -> [3, B, windows, heads, n, dim/heads]; no axis of windows where there are none."""
    leading = (attributes["windows"],) if "windows" in attributes else ()
    heads = attributes["heads"]
    parts = qkv.reshape(len(qkv), *leading, -1, 3, heads, qkv.shape[2] // (3 * heads))
    return np.moveaxis(parts, (-3, -2), (0, -3))


def _scores(_tensor: Any, attributes: Any, qkv: Array) -> Array:
    query, key, _ = _split(qkv, attributes)
    return arith.matmul(query, key.swapaxes(-1, -2))


def _context(_tensor: Any, attributes: Any, probabilities: Array, qkv: Array) -> Array:
    _, _, value = _split(qkv, attributes)
    out = arith.matmul(probabilities, value).swapaxes(-2, -3)  # [B, windows, n, heads, d]
    return out.reshape(*qkv.shape[:2], -1)


def _shiftmax(_tensor: Any, a: Any, x: Array, mask: Array | None = None) -> Array:
    if mask is not None:
        mask = mask[:, :, None]  # the same for every head
    return arith.shiftmax(x, a["i0"], a["bits"], a["terms"], mask)


def _window_partition(_tensor: Any, a: Any, x: Array) -> Array:
    height, width, window, shift = a["height"], a["width"], a["window"], a["shift"]
    grid = np.roll(x.reshape(len(x), height, width, -1), (-shift, -shift), (1, 2))
    grid = grid.reshape(len(x), height // window, window, width // window, window, -1)
    return grid.swapaxes(2, 3).reshape(x.shape)


def _window_reverse(_tensor: Any, a: Any, x: Array) -> Array:
    height, width, window, shift = a["height"], a["width"], a["window"], a["shift"]
    grid = x.reshape(len(x), height // window, width // window, window, window, -1).swapaxes(2, 3)
    return np.roll(grid.reshape(len(x), height, width, -1), (shift, shift), (1, 2)).reshape(x.shape)


def _merge(_tensor: Any, a: Any, x: Array) -> Array:
    grid = x.reshape(len(x), a["height"] // 2, 2, a["width"] // 2, 2, x.shape[2])
    return grid.transpose(0, 1, 3, 4, 2, 5).reshape(len(x), x.shape[1] // 4, -1)  # column parity before row parity


_LAWS: dict[str, Callable[..., Array]] = {
    "patch_embed": _patch_embed,
    "concat_cls": _concat_cls,
    "constant": lambda tensor, _: tensor("value")[None],
    "linear": lambda tensor, _, x: arith.linear(x, tensor("weight"), tensor("bias")),
    "requantize": lambda tensor, a, x: arith.requantize(x, tensor("mult"), tensor("shift"), a["bits"]),
    "add": _add,
    "layer_norm": lambda tensor, _, x: arith.layer_norm(x, tensor("bias")),
    "scores": _scores,
    "context": _context,
    "shiftmax": _shiftmax,
    "shift_gelu": lambda _, a, x: arith.shift_gelu(x, a["i0"], a["terms"]),
    "class_token": lambda _tensor, _, x: x[:, 0],
    "window_partition": _window_partition,
    "window_reverse": _window_reverse,
    "merge": _merge,
    "mean": lambda _tensor, _, x: arith.divide_round(x.sum(axis=1), x.shape[1]),
}

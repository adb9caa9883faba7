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


def _split(qkv: Array, heads: int) -> Array:
    """[B, n, 3*dim] -> [3, B, heads, n, dim/heads]."""
    batch, tokens, channels = qkv.shape
    return qkv.reshape(batch, tokens, 3, heads, channels // (3 * heads)).transpose(2, 0, 3, 1, 4)


def _scores(_tensor: Any, attributes: Any, qkv: Array) -> Array:
    query, key, _ = _split(qkv, attributes["heads"])
    return arith.matmul(query, key.swapaxes(-1, -2))


def _context(_tensor: Any, attributes: Any, probabilities: Array, qkv: Array) -> Array:
    _, _, value = _split(qkv, attributes["heads"])
    out = arith.matmul(probabilities, value).transpose(0, 2, 1, 3)  # [B, n, heads, d]
    return out.reshape(*out.shape[:2], -1)


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
    "shiftmax": lambda _, a, x: arith.shiftmax(x, a["i0"], a["bits"], a["terms"]),
    "shift_gelu": lambda _, a, x: arith.shift_gelu(x, a["i0"], a["terms"]),
    "class_token": lambda _tensor, _, x: x[:, 0],
}

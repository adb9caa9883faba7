"""What every operator's output is, and whether a node of it can be right: shapes, widths, constants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hw.spec.operators import ATTRIBUTES, OPERATORS, TENSORS, ModelError, Node, Value

__all__ = ["constant", "infer", "macs"]

Tensors = Mapping[str, NDArray[Any]]


def constant(tensors: Tensors, node: Node, name: str) -> NDArray[Any]:
    """Tensor `name` of `node`. Raises ModelError if it is missing."""
    try:
        return tensors[f"{node.name}.{name}"]
    except KeyError:
        raise ModelError(f"tensor {node.name}.{name} is missing") from None


def infer(tensors: Tensors, node: Node, known: Mapping[str, Value], image: tuple[int, int, int]) -> Value:
    """Shape and width of the output of `node`; `known` are those of earlier nodes, `image` [C, H, W] is the input's.

    Raises ModelError for an unknown operator, a wrong attribute, input or tensor, or shapes that do not fit.
    """
    _check(tensors, node, known)
    if node.op == "input":
        return Value(image, 8)
    value = _INFER[node.op](tensors, node, *(known[name] for name in node.inputs))
    _check_shapes(tensors, node, value)
    return value


def macs(tensors: Tensors, node: Node, inputs: tuple[Value, ...], value: Value) -> int:
    """Multiply-accumulates of one image in `node`: products with weights, Q @ K.T and P @ V."""
    if node.op in {"linear", "patch_embed"}:
        return int(np.prod(value.shape)) * constant(tensors, node, "weight").shape[1]
    if node.op in {"scores", "context"}:
        probabilities, qkv = (value, inputs[0]) if node.op == "scores" else inputs
        return int(np.prod(probabilities.shape)) * (qkv.shape[1] // 3 // node.attributes["heads"])
    return 0


def _check(tensors: Tensors, node: Node, known: Mapping[str, Value]) -> None:
    """Name, inputs, attributes and tensors of `node` are what its operator wants. Raises ModelError."""
    if node.name in known:
        raise ModelError(f"node {node.name} occurs twice")
    operator = OPERATORS.get(node.op)
    if operator is None:
        raise ModelError(f"node {node.name} has the unknown operator {node.op!r}")
    if len(node.inputs) not in operator.inputs:
        wanted = " or ".join(map(str, operator.inputs))
        raise ModelError(f"{node.op} {node.name} must have {wanted} inputs, not {len(node.inputs)}")
    for name in node.inputs:
        if name not in known:
            raise ModelError(f"{node.op} {node.name} reads {name}, which no earlier node computes")
    if not set(operator.attributes) <= set(node.attributes) <= {*operator.attributes, *operator.optional}:
        raise ModelError(
            f"{node.op} {node.name} must have attributes {list(operator.attributes)}, not {list(node.attributes)}"
        )
    for name, number in node.attributes.items():
        allowed = ATTRIBUTES[name]
        if not isinstance(number, int) or number not in allowed:
            raise ModelError(f"{name} of {node.name} must be from {allowed[0]} to {allowed[-1]}, not {number}")
    for name in operator.tensors:
        array, key = constant(tensors, node, name), f"{node.op}.{name}"
        low, high = TENSORS.get(key, TENSORS[name])
        if array.dtype.kind not in "iu":
            raise ModelError(f"tensor {node.name}.{name} must hold integers, not {array.dtype}")
        if array.size and not (low <= int(array.min()) and int(array.max()) <= high):
            raise ModelError(
                f"tensor {node.name}.{name} must be from {low} to {high}, not {int(array.min())} to {int(array.max())}"
            )


def _check_shapes(tensors: Tensors, node: Node, value: Value) -> None:
    operator = OPERATORS[node.op]
    for name in operator.tensors:
        shape = constant(tensors, node, name).shape
        wanted: tuple[tuple[int, ...], ...] = (value.shape[-1:],)
        if name.startswith(("mult", "shift")):
            wanted = ((1,), value.shape[-1:]) if node.op == "requantize" else ((1,),)
        elif name == "cls":
            wanted = ((1, value.shape[-1]),)
        elif name in {"weight", "value"}:
            continue  # these define the output's shape
        if shape not in wanted:
            raise ModelError(f"tensor {node.name}.{name} must have shape {list(wanted[-1])}, not {list(shape)}")
    if "mult" in operator.tensors and constant(tensors, node, "mult").shape != constant(tensors, node, "shift").shape:
        raise ModelError(f"mult and shift of {node.name} must have the same shape")


def _need(node: Node, value: Value, rank: int, bits: int) -> None:
    if len(value.shape) != rank or value.bits > bits:
        raise ModelError(
            f"{node.op} {node.name} needs rank {rank}, at most {bits} bits, not {list(value.shape)}, {value.bits} bits"
        )


def _product(tensors: Tensors, node: Node, depth: int) -> int:
    """Outputs of a weight matrix of the given depth, whose int32 accumulators provably do not wrap."""
    weight, bias = constant(tensors, node, "weight"), constant(tensors, node, "bias")
    if weight.ndim != 2 or weight.shape[1] != depth:
        raise ModelError(f"tensor {node.name}.weight must have shape [outputs, {depth}], not {list(weight.shape)}")
    if bias.shape != weight.shape[:1]:
        raise ModelError(f"tensor {node.name}.bias must have shape [{len(weight)}], not {list(bias.shape)}")
    bound = 128 * np.abs(weight.astype(np.int64)).sum(axis=1) + np.abs(bias.astype(np.int64))
    if np.any(bound >= 1 << 31):
        raise ModelError(f"accumulator {int(bound.argmax())} of {node.name} can exceed 32 bits")
    return len(weight)


def _patch_embed(tensors: Tensors, node: Node, x: Value) -> Value:
    _need(node, x, 3, 8)
    patch = node.attributes["patch"]
    channels, height, width = x.shape
    if height % patch or width % patch:
        raise ModelError(f"patch of {node.name} must divide the image {height}x{width}, which {patch} does not")
    return Value(((height // patch) * (width // patch), _product(tensors, node, channels * patch * patch)), 32)


def _concat_cls(tensors: Tensors, node: Node, x: Value) -> Value:
    _need(node, x, 2, 32)
    cls = constant(tensors, node, "cls").astype(np.int64)
    bits = max((int(np.abs(cls).max(initial=0))).bit_length() + 1, x.bits)
    return Value((x.shape[0] + 1, x.shape[1]), bits)


def _linear(tensors: Tensors, node: Node, x: Value) -> Value:
    _need(node, x, len(x.shape), 8)
    return Value((*x.shape[:-1], _product(tensors, node, x.shape[-1])), 32)


def _add(_tensors: Tensors, node: Node, x: Value, identity: Value) -> Value:
    per_window = len(x.shape) == 4 and x.shape[1:] == identity.shape
    if x.shape != identity.shape and not per_window:
        raise ModelError(f"add {node.name} needs equal shapes, not {list(x.shape)} and {list(identity.shape)}")
    return Value(x.shape, node.attributes["bits"])


def _layer_norm(_tensors: Tensors, node: Node, x: Value) -> Value:
    _need(node, x, 2, 16)
    return Value(x.shape, 35)


def _attention(node: Node, qkv: Value) -> tuple[tuple[int, ...], int]:
    """(shape of the scores, dim) of a qkv tensor."""
    _need(node, qkv, 2, 8)
    heads, windows = node.attributes["heads"], node.attributes.get("windows", 1)
    rows, channels = qkv.shape
    if channels % (3 * heads):
        raise ModelError(f"{node.op} {node.name} cannot split {channels} channels into 3 x {heads} heads")
    if rows % windows:
        raise ModelError(f"{node.op} {node.name} cannot split {rows} tokens into {windows} windows")
    leading = (windows,) if "windows" in node.attributes else ()
    return (*leading, heads, rows // windows, rows // windows), channels // 3


def _scores(_tensors: Tensors, node: Node, qkv: Value) -> Value:
    return Value(_attention(node, qkv)[0], 32)


def _context(_tensors: Tensors, node: Node, probabilities: Value, qkv: Value) -> Value:
    shape, dim = _attention(node, qkv)
    _need(node, probabilities, len(shape), 16)
    if probabilities.shape != shape:
        raise ModelError(f"context {node.name} needs probabilities {list(shape)}, not {list(probabilities.shape)}")
    # no wrap: a row of probabilities sums to 2^15, or to tokens * 2^9 if its exponential sum is clamped
    return Value((qkv.shape[0], dim), 32)


def _shiftmax(tensors: Tensors, node: Node, x: Value, mask: Value | None = None) -> Value:
    _need(node, x, 4 if len(x.shape) == 4 else 3, 8)
    if mask is not None:
        values = tensors.get(f"{node.inputs[1]}.value")
        if values is None or np.any((values != 0) & (values != 1)):
            raise ModelError(f"the mask of shiftmax {node.name} must be a constant of 0 and 1")
        windows, _, *square = x.shape if len(x.shape) == 4 else (0, *x.shape)
        if mask.shape != (windows, *square):
            raise ModelError(
                f"the mask of shiftmax {node.name} must have shape [windows, n, n] of its scores {list(x.shape)}, "
                f"not {list(mask.shape)}"
            )
        if np.any(values.all(axis=-1)):
            raise ModelError(f"the mask of shiftmax {node.name} must leave something of every row")
    return Value(x.shape, node.attributes["bits"])


def _shift_gelu(_tensors: Tensors, node: Node, x: Value) -> Value:
    _need(node, x, 2, 8)
    return Value(x.shape, 17)


def _class_token(_tensors: Tensors, node: Node, x: Value) -> Value:
    _need(node, x, 2, 64)
    return Value(x.shape[1:], x.bits)


def _grid(node: Node, x: Value) -> tuple[int, int]:
    """Height and width of the token grid that `x` is."""
    _need(node, x, 2, 16)
    height, width = node.attributes["height"], node.attributes["width"]
    if x.shape[0] != height * width:
        raise ModelError(f"{node.op} {node.name} needs {height} x {width} tokens, not {x.shape[0]}")
    return height, width


def _window(_tensors: Tensors, node: Node, x: Value) -> Value:
    height, width = _grid(node, x)
    window, shift = node.attributes["window"], node.attributes["shift"]
    if height % window or width % window:
        raise ModelError(f"window {window} of {node.name} must divide the grid {height} x {width}")
    if shift >= window:
        raise ModelError(f"shift of {node.name} must be below the window {window}, not {shift}")
    return x


def _merge(_tensors: Tensors, node: Node, x: Value) -> Value:
    height, width = _grid(node, x)
    if height % 2 or width % 2:
        raise ModelError(f"merge {node.name} needs an even grid, not {height} x {width}")
    return Value((x.shape[0] // 4, 4 * x.shape[1]), x.bits)


def _mean(_tensors: Tensors, node: Node, x: Value) -> Value:
    _need(node, x, 2, 8)
    return Value(x.shape[1:], x.bits)


_INFER: dict[str, Callable[..., Value]] = {
    "patch_embed": _patch_embed,
    "concat_cls": _concat_cls,
    "constant": lambda tensors, node: Value(constant(tensors, node, "value").shape, 16),
    "linear": _linear,
    "requantize": lambda _tensors, node, x: Value(x.shape, node.attributes["bits"]),
    "add": _add,
    "layer_norm": _layer_norm,
    "scores": _scores,
    "context": _context,
    "shiftmax": _shiftmax,
    "shift_gelu": _shift_gelu,
    "class_token": _class_token,
    "window_partition": _window,
    "window_reverse": _window,
    "merge": _merge,
    "mean": _mean,
}

"""The golden model: a whole integer Vision Transformer, composed of the laws of `hw.spec` only.

`sim.fast` computes the same laws on compiled kernels where it can.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hw.spec.model import Model, Node
from hw.spec.operators import OPERATORS, Requantize, evaluate
from sim.fast import FastLaws, FusedLaws, fast_laws

__all__ = ["run"]

Array = NDArray[Any]
Laws = Any  # hw.spec.arith, or what computes the same
_PIECE = 4  # images whose activations fit a processor's second-level cache


def run(
    model: Model, images: Array, trace: dict[str, Array] | None = None, *,
    threads: int | None = None, laws: Laws | None = None,
) -> Array:  # fmt: skip
    """Logit accumulators [B, classes] (int32) of int8 images [B, C, H, W].

    With `trace`, every node's output is stored there under the node's name, batch first, int64. The batch is cut into
    pieces that run on `threads` threads, by default one per processor. `laws` are the fast ones, or `hw.spec.arith`.
    """
    if images.dtype != np.int8 or images.shape[1:] != model.image:
        raise ValueError(
            f"images must be int8 [B, {', '.join(map(str, model.image))}], not {images.dtype} {images.shape}"
        )
    laws = laws or fast_laws()
    if trace is not None:
        return _run(laws, model, images, trace)
    threads = threads or os.cpu_count() or 1
    share = min(_PIECE, -(-len(images) // threads)) or 1
    pieces = [images[first : first + share] for first in range(0, len(images), share)] or [images]
    if len(pieces) == 1:
        return _run(laws, model, images)
    with ThreadPoolExecutor(min(threads, len(pieces))) as pool:
        return np.concatenate(list(pool.map(lambda piece: _run(laws, model, piece), pieces)))


def _run(laws: Laws, model: Model, images: Array, trace: dict[str, Array] | None = None) -> Array:
    values: dict[str, Array] = {}
    last = {name: index for index, node in enumerate(model.nodes) for name in node.inputs}
    fused = _fused(model) if trace is None and isinstance(laws, FastLaws) else {}
    for index, node in enumerate(model.nodes):
        if node.name in values:
            continue  # came with its input
        inputs = [images] if OPERATORS[node.op].image else [values[name] for name in node.inputs]
        if node.name in fused:
            then = fused[node.name]
            mult, shift = model.tensor(then, "mult"), model.tensor(then, "shift")
            laws_then = FusedLaws(laws, mult, shift, then.attributes["bits"])
            values[then.name] = evaluate(model.tensors, node, inputs, laws_then)
        else:
            values[node.name] = evaluate(model.tensors, node, inputs, laws)
        if trace is not None:
            trace[node.name] = values[node.name].astype(np.int64)
        for name in {name for name in node.inputs if last[name] == index}:
            del values[name]
    return values[model.nodes[-1].name].astype(np.int32)


def _fused(model: Model) -> dict[str, Node]:
    """By a node's name, the requantization that alone reads it and can be done with it."""
    readers: dict[str, list[Node]] = {}
    for node in model.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    found = {}
    for node in model.nodes:
        (then, *others) = readers.get(node.name, [node])
        operator = OPERATORS[node.op]
        fits = then.op == Requantize.name and not others and operator.law in FusedLaws.LAWS
        if fits and (operator.law_channels or model.tensor(then, "mult").size == 1):
            found[node.name] = then
    return found

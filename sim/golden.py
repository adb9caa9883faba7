"""The golden model: a whole integer Vision Transformer in NumPy, composed of the laws of `hw.spec` only."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hw.spec.laws import evaluate
from hw.spec.model import Model

__all__ = ["run"]

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
        values[node.name] = (
            images if node.op == "input" else evaluate(model.tensors, node, [values[name] for name in node.inputs])
        )
        if trace is None:
            for name in {name for name in node.inputs if last[name] == index}:
                del values[name]
    logits = values[model.nodes[-1].name]
    return logits.astype(np.int32)

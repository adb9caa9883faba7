"""What of a model's tensors reaches its outputs: a class token's head leaves most of the last block's rows unread.

To compute no more than that is exact: an element that is not live has no influence on any output.
"""

from __future__ import annotations

import numpy as np

from hw.spec.model import Model, values
from hw.spec.operators import Mask, operation

__all__ = ["live", "live_macs"]


def live(model: Model) -> dict[str, Mask]:
    """Of every node's output, without the batch, the elements that the last node's depend on.

    Raises ModelError for a model that is not valid.
    """
    known = values(model)
    found = {name: np.zeros(value.shape, bool) for name, value in known.items()}
    found[model.nodes[-1].name][...] = True
    for node in reversed(model.nodes):
        needed = operation(node, model.tensors).needs(found[node.name], *(known[name] for name in node.inputs))
        for name, mask in zip(node.inputs, needed, strict=True):
            found[name] |= mask
    return found


def live_macs(model: Model) -> dict[str, int]:
    """Multiply-accumulates of one image that reach the outputs, by node: those of a node are shared out evenly among
    the elements of its output. Raises ModelError like `live`.
    """
    masks = live(model)
    return {name: macs * int(masks[name].sum()) // masks[name].size for name, macs in model.layer_macs.items()}

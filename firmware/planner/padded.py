"""Heads and hidden layers of any size on a machine of whole words: padded, so that every other number stays the same.

A head gets channels whose Q, K and V are zeros, which change no score and no other channel of the context; the columns
of the linear behind it are zeros there. A hidden layer gets copies of its last channel, which change no row's maximum,
and columns of zeros as well. The scales of scores and of everything else are those of the true sizes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from firmware.planner.mlp import Activation
from hw.spec.memory import align
from hw.spec.model import Model, Node

__all__ = ["Paddable", "padded"]

Array = NDArray[Any]
Mode = Literal["constant", "edge"]  # zeros, or copies of the last channel


class Paddable(Protocol):
    """The nodes of a block that have to do with channels of heads and with hidden channels."""

    @property
    def qkv(self) -> Node: ...
    @property
    def qkv_quant(self) -> Node: ...
    @property
    def scores(self) -> Node: ...
    @property
    def context_quant(self) -> Node: ...
    @property
    def proj(self) -> Node: ...
    @property
    def fc1(self) -> Node: ...
    @property
    def fc1_quant(self) -> Node: ...
    @property
    def act(self) -> Activation: ...
    @property
    def fc2(self) -> Node: ...


def padded(model: Model, blocks: Iterable[Paddable], word: int) -> Model:
    """`model` with heads and hidden layers of `blocks` in multiples of `word` channels; the same logits.

    Its multiply-accumulates are those that a machine does, not those of the network.
    """
    pad = _Padding(model)
    for block in blocks:
        pad.heads(block, word)
        pad.hidden(block, word)
    return replace(model, tensors=pad.tensors)


class _Padding:
    def __init__(self, model: Model) -> None:
        self.tensors: dict[str, Array] = dict(model.tensors)

    def heads(self, block: Paddable, word: int) -> None:
        heads = block.scores.attributes["heads"]
        size = align(len(self.tensors[f"{block.qkv.name}.weight"]) // (3 * heads), word)
        self._widen(block.qkv, "weight", 0, 3 * heads, size)
        self._widen(block.qkv, "bias", 0, 3 * heads, size)
        self._factors(block.qkv_quant, 3 * heads, size)
        self._factors(block.context_quant, heads, size)
        self._widen(block.proj, "weight", 1, heads, size)

    def hidden(self, block: Paddable, word: int) -> None:
        size = align(len(self.tensors[f"{block.fc1.name}.weight"]), word)
        self._widen(block.fc1, "weight", 0, 1, size, "edge")
        self._widen(block.fc1, "bias", 0, 1, size, "edge")
        for node in (block.fc1_quant, *block.act.nodes()):
            self._factors(node, 1, size)
        self._widen(block.fc2, "weight", 1, 1, size)

    def _factors(self, node: Node, parts: int, size: int) -> None:
        """Factors of `node`, if it has one per channel."""
        for name in ("mult", "shift"):
            factor = self.tensors.get(f"{node.name}.{name}")
            if factor is not None and factor.ndim == 1 and factor.size > 1:
                self._widen(node, name, 0, parts, size, "edge")

    def _widen(self, node: Node, name: str, axis: int, parts: int, size: int, mode: Mode = "constant") -> None:
        """Each of `parts` equal parts of an axis becomes `size` long."""
        key = f"{node.name}.{name}"
        array = self.tensors[key]
        before, behind = array.shape[:axis], array.shape[axis + 1 :]
        pieces = array.reshape(*before, parts, -1, *behind)
        more = [(0, 0)] * pieces.ndim
        more[axis + 1] = (0, size - pieces.shape[axis + 1])
        if more[axis + 1][1]:
            self.tensors[key] = np.pad(pieces, more, mode=mode).reshape(*before, -1, *behind)

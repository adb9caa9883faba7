"""The MODEL region: weight streams, parameter tables and constants, as the device reads them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firmware.planner.program import CompileError
from hw.spec import memory
from hw.spec.config import Config
from hw.spec.model import Model, Node
from hw.spec.operators import PtfLayerNorm

__all__ = ["FACTORS", "Blob", "ModelImage"]

FACTORS = "factors"  # behind a norm's name: its power-of-two factors


@dataclass(frozen=True)
class Blob:
    """A piece of the MODEL region, in words."""

    offset: int
    words: int


class ModelImage:
    """The constants of `model`, one after the other; look pieces up by name in `blobs`."""

    def __init__(self, model: Model, config: Config) -> None:
        self.blobs: dict[str, Blob] = {}
        self._model, self._config = model, config
        self._parts: list[NDArray[np.uint8]] = []
        self._words = 0

    @property
    def data(self) -> NDArray[np.uint8]:
        if len(self._parts) > 1:
            self._parts = [np.concatenate(self._parts)]  # the same array every time
        return self._parts[0]

    def add(self, name: str, data: NDArray[np.uint8]) -> None:
        """Bytes, padded to whole words."""
        size = self._config.word_bytes
        padded = np.zeros(memory.align(len(data), size), np.uint8)
        padded[: len(data)] = data
        self._parts.append(padded)
        self.blobs[name] = Blob(self._words, len(padded) // size)
        self._words += len(padded) // size

    def _dyadic(self, node: Node, channels: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        mult = np.asarray(self._model.tensor(node, "mult"), np.int64)
        shift = np.asarray(self._model.tensor(node, "shift"), np.int64)
        return np.broadcast_to(mult, (channels,)), np.broadcast_to(shift, (channels,))

    def linear(self, node: Node, quant: Node | None, suffix: str = "", part: int | None = None) -> None:
        """A weight stream with the parameters of every output, or one third of it as blob `node` + `suffix`."""
        weight = np.asarray(self._model.tensor(node, "weight"))
        weight = weight.reshape(len(weight), -1).astype(np.int8)
        bias = np.asarray(self._model.tensor(node, "bias"), np.int64)
        zeros = np.zeros(len(weight), np.int64)
        mult, shift = self._dyadic(quant, len(weight)) if quant else (zeros, zeros)
        if part is not None:
            third = slice(part * len(weight) // 3, (part + 1) * len(weight) // 3)
            weight, bias, mult, shift = weight[third], bias[third], mult[third], shift[third]
        if quant and mult.min() < 0:
            raise CompileError(f"mult of {quant.name} must not be negative, as {mult.min()} is: only a norm's may be")
        params = memory.channel_params(bias, mult, shift, self._config)
        self.add(node.name + suffix, memory.pack_stream(weight, self._config, params))

    def qkv(self, node: Node, quant: Node) -> None:
        """Three weight streams: `node` + "q", "k" and "v"."""
        for part, suffix in enumerate("qkv"):
            self.linear(node, quant, suffix, part)

    def table(self, node: Node) -> None:
        """The entries of a table."""
        self.add(node.name, memory.table_entries(np.asarray(self._model.tensor(node, "entries"), np.int64)))

    def norm(self, node: Node, quant: Node) -> None:
        """A table of norm parameters, and another one of power-of-two factors if it has some."""
        bias = np.asarray(self._model.tensor(node, "bias"), np.int64)
        mult, shift = self._dyadic(quant, len(bias))
        self.add(node.name, memory.norm_params(bias, mult, shift, self._config).reshape(-1))
        if node.op == PtfLayerNorm.name:
            exponents = np.asarray(self._model.tensor(node, "exponents"), np.int64)
            one, none = np.ones_like(exponents), np.zeros_like(exponents)
            self.add(node.name + FACTORS, memory.norm_params(exponents, one, none, self._config).reshape(-1))

"""The MODEL region: weight streams, parameter tables and constants, as the device reads them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firmware.compiler.pattern import Block, VisionTransformer
from firmware.compiler.program import CompileError
from hw.spec import arith, memory
from hw.spec.config import Config
from hw.spec.model import Model, Node

__all__ = ["Blob", "ModelImage", "attention_words"]


@dataclass(frozen=True)
class Blob:
    """A piece of the MODEL region, in words."""

    offset: int
    words: int


def attention_words(roles: VisionTransformer, config: Config) -> tuple[int, int]:
    """Words per head of K and of V in stream order."""
    head = roles.dim // roles.heads
    keys = memory.stream_words(roles.tokens, head, config, params=False)
    values = memory.stream_words(head, roles.tokens, config, params=False)
    return keys, values


class ModelImage:
    """Lays out every constant of `model`; look pieces up by name in `blobs`."""

    def __init__(self, model: Model, roles: VisionTransformer, config: Config) -> None:
        self.blobs: dict[str, Blob] = {}
        self._model, self._config = model, config
        self._parts: list[NDArray[np.uint8]] = []
        self._words = 0
        self._linear(roles.embed, roles.embed_quant)
        self._position(roles)
        for block in roles.blocks:
            self._block(block)
        self._norm(roles.norm, roles.norm_quant)
        self._linear(roles.head, None)

    @property
    def data(self) -> NDArray[np.uint8]:
        return np.concatenate(self._parts)

    def _block(self, block: Block) -> None:
        self._norm(block.norm1, block.norm1_quant)
        for part, name in enumerate("qkv"):
            self._linear(block.qkv, block.qkv_quant, name, part)
        self._linear(block.proj, block.proj_quant)
        self._norm(block.norm2, block.norm2_quant)
        self._linear(block.fc1, block.fc1_quant)
        self._linear(block.fc2, block.fc2_quant)

    def _add(self, name: str, data: NDArray[np.uint8]) -> None:
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

    def _linear(self, node: Node, quant: Node | None, suffix: str = "", part: int | None = None) -> None:
        weight = np.asarray(self._model.tensor(node, "weight"))
        weight = weight.reshape(len(weight), -1).astype(np.int8)
        bias = np.asarray(self._model.tensor(node, "bias"), np.int64)
        zeros = np.zeros(len(weight), np.int64)
        mult, shift = self._dyadic(quant, len(weight)) if quant else (zeros, zeros)
        if part is not None:
            third = slice(part * len(weight) // 3, (part + 1) * len(weight) // 3)
            weight, bias, mult, shift = weight[third], bias[third], mult[third], shift[third]
        bound = int((np.abs(weight.astype(np.int64)).sum(1) * 128 + np.abs(bias)).max())
        if bound >= 1 << 31:
            raise CompileError(f"{node.name} can reach {bound}, but accumulators and biases are int32")
        if mult.min() < 0:
            raise CompileError(f"{quant.name if quant else node.name} has a negative mantissa after a linear layer")
        params = memory.channel_params(bias, mult, shift, self._config)
        self._add(node.name + suffix, memory.pack_stream(weight, self._config, params))

    def _norm(self, node: Node, quant: Node) -> None:
        bias = np.asarray(self._model.tensor(node, "bias"), np.int64)
        mult, shift = self._dyadic(quant, len(bias))
        self._add(node.name, memory.norm_params(bias, mult, shift, self._config).reshape(-1))

    def _position(self, roles: VisionTransformer) -> None:
        """Position embedding rows; row 0 holds the finished class token, which no image changes."""
        model = self._model
        value = np.asarray(model.tensor(roles.position, "value"), np.int64).reshape(roles.tokens, roles.dim)
        cls = np.asarray(model.tensor(roles.cls, "cls"), np.int64).reshape(1, roles.dim)
        factors = [
            np.asarray(model.tensor(roles.add, name), np.int64)
            for name in ("mult", "shift", "mult_identity", "shift_identity")
        ]
        rows = value.copy()
        rows[0] = arith.requantize(
            cls, factors[0], factors[1], 16, identity=value[:1], mult_identity=factors[2], shift_identity=factors[3]
        )
        self._add(roles.position.name, rows.astype("<i2").reshape(-1).view(np.uint8))

"""Embedded text: what the host looks up and sends."""

from __future__ import annotations

import numpy as np

from hw.spec.operators.operator import Array, Laws, ModelError, Operator, Tensor, Value, register

__all__ = ["Embedded"]


@register
class Embedded(Operator):
    """The image [1, n, 2*dim] as int16 tokens [n, dim], low bytes first; the first node of a model of text.

    The host makes the image: row i is word[id] + position[i] of token number i, saturated to int16.
    """

    name = "embedded"
    inputs = (0,)
    image = True
    image_bits = 16
    quantizes = True
    constants = (
        Tensor("word", -(1 << 15), (1 << 15) - 1, "[vocabulary, dim]", "a row of each token of the vocabulary, int16"),
        Tensor("position", -(1 << 15), (1 << 15) - 1, "[most tokens, dim]", "a row of each place in a text, int16"),
    )

    def infer(self, image: Value) -> Value:
        channels, tokens, size = image.shape
        word, position = self.tensor("word"), self.tensor("position")
        if channels != 1 or size % 2 or any(table.shape[1:] != (size // 2,) for table in (word, position)):
            raise ModelError(
                f"{self} needs an image [1, n, 2*dim] and tables of dim channels, not {list(image.shape)}, "
                f"{list(word.shape)} and {list(position.shape)}"
            )
        if tokens > len(position):
            raise ModelError(f"{self} has positions for at most {len(position)} tokens, not {tokens}")
        return Value((tokens, size // 2), 16)

    def evaluate(self, _laws: Laws, images: Array) -> Array:
        return np.ascontiguousarray(images[:, 0]).view("<i2").astype(np.int16)

    @staticmethod
    def tokens(images: Array) -> Array:
        return images[:, 0]

    def rows(self, ids: Array) -> Array:
        """The images int8 [B, 1, n, 2*dim] of token numbers [B, n]."""
        word, position = self.tensor("word"), self.tensor("position")
        total = word[ids].astype(np.int32) + position[: ids.shape[1]]
        tokens = np.clip(total, -(1 << 15), (1 << 15) - 1).astype("<i2")
        return tokens.view(np.int8)[:, None]

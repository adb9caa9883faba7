"""Where a ViT's tensors wait in the WORK region between items.

Per image: the residual stream, Q, the K and V of all heads, and what a mean is of. K and V have two places, by
parity of the block: while one block's are read, the next block's are written.
"""

from __future__ import annotations

from typing import Any

from firmware.families.vit.pattern import VisionTransformer
from firmware.planner.key_values import KeyValues, Transposed
from firmware.planner.wide_summing import TokenBytes
from hw.spec.config import Config

__all__ = ["Layout"]


class Layout:
    """Places of every image's tensors, in words."""

    def __init__(self, roles: VisionTransformer, config: Config, images: int) -> None:
        self._roles, self._config = roles, config
        self.query_words = roles.inner // config.word_bytes  # of a row of Q
        self.residual_words = 2 * roles.dim // config.word_bytes  # of a row of the residual stream
        self._image_words = roles.tokens * (self.residual_words + self.query_words) + 2 * self._key_values(0).words
        if roles.pool:
            self._image_words += (self.token_bytes if roles.norm_of_mean else self.pooling)(0).words
        self.words = images * self._image_words

    def residual(self, image: int, token: int) -> int:
        """A row of the residual stream."""
        return image * self._image_words + token * self.residual_words

    def query(self, image: int, token: int) -> int:
        """A row of Q."""
        return self.residual(image, self._roles.tokens) + token * self.query_words

    def attention(self, image: int, block: int) -> KeyValues:
        """K and V of a block."""
        return self._key_values(self.query(image, self._roles.tokens) + block % 2 * self._key_values(0).words)

    def pooling(self, image: int) -> Transposed:
        """All tokens behind the last norm, where their mean is taken."""
        return Transposed(**self._waiting(image))

    def token_bytes(self, image: int) -> TokenBytes:
        """The residual stream behind the last block, where its mean is taken."""
        return TokenBytes(**self._waiting(image))

    def _waiting(self, image: int) -> dict[str, Any]:
        start = self.query(image, self._roles.tokens) + 2 * self._key_values(0).words
        return {"config": self._config, "start": start, "tokens": self._roles.tokens, "channels": self._roles.dim}

    def _key_values(self, start: int) -> KeyValues:
        roles = self._roles
        head = roles.inner // roles.heads
        return KeyValues(config=self._config, start=start, tokens=roles.tokens, heads=roles.heads, head=head)

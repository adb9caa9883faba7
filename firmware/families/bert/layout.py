"""Where a BERT's tensors wait in the WORK region between items.

The residual streams of all texts, one text behind the other, then their Q, and of each text K and V of all heads and
the bytes that its feature is the sum of. K and V have two places, by parity of the block: while one block's are read,
the next block's are written.
"""

from __future__ import annotations

from firmware.families.bert.pattern import Encoder
from firmware.planner.key_values import KeyValues
from firmware.planner.wide_summing import TokenBytes
from hw.spec.config import Config

__all__ = ["Layout"]


class Layout:
    """Places of every text's tensors, in words."""

    def __init__(self, roles: Encoder, config: Config, texts: int) -> None:
        self._roles, self._config, self._tokens = roles, config, texts * roles.tokens
        self.stream_words = 2 * roles.dim // config.word_bytes  # of a row of the residual stream
        self.query_words = roles.inner // config.word_bytes  # of a row of Q
        self._text_words = 2 * self._key_values(0).words + self._bytes(0).words
        self.words = self._of(texts)

    def stream(self, text: int, token: int) -> int:
        """A row of the residual stream."""
        return (text * self._roles.tokens + token) * self.stream_words

    def query(self, text: int, token: int) -> int:
        """A row of Q."""
        return self._tokens * self.stream_words + (text * self._roles.tokens + token) * self.query_words

    def attention(self, text: int, block: int) -> KeyValues:
        """K and V of a block."""
        return self._key_values(self._of(text) + block % 2 * self._key_values(0).words)

    def token_bytes(self, text: int) -> TokenBytes:
        """The tokens behind the last norm that the feature is the sum of."""
        return self._bytes(self._of(text) + 2 * self._key_values(0).words)

    def _of(self, text: int) -> int:
        return self._tokens * (self.stream_words + self.query_words) + text * self._text_words

    def _key_values(self, start: int) -> KeyValues:
        roles = self._roles
        head = roles.inner // roles.heads
        return KeyValues(config=self._config, start=start, tokens=roles.tokens, heads=roles.heads, head=head)

    def _bytes(self, start: int) -> TokenBytes:
        roles = self._roles
        return TokenBytes(config=self._config, start=start, tokens=roles.summed, channels=roles.dim)

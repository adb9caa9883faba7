"""K and V between the items that write them and those that attend: in WORK, in weight-stream order."""

from __future__ import annotations

from dataclasses import dataclass

from firmware.planner.allocator import Buffer
from firmware.planner.dependencies import Access
from firmware.planner.scheduler import Stream
from firmware.planner.tasks import Pattern
from hw.spec.config import Config
from hw.spec.isa import Region
from hw.spec.memory import align, stream_words, tiles

__all__ = ["KeyValues"]


@dataclass(frozen=True, kw_only=True)
class KeyValues:
    """The K of every head, then the V of every head, of `tokens` tokens, from word `start` of WORK.

    So FETCH streams them like any weight: K as [tile of keys][pass over channels][key], V as [tile of channels][pass
    over keys][channel], tiles of `cols`, passes of one word.
    """

    config: Config
    start: int
    tokens: int
    heads: int
    head: int  # channels of each

    @property
    def keys_words(self) -> int:
        """Words of a head's K."""
        return stream_words(self.tokens, self.head, self.config, params=False)

    @property
    def values_words(self) -> int:
        """Words of a head's V."""
        return stream_words(self.head, self.tokens, self.config, params=False)

    @property
    def words(self) -> int:
        """Words of all of them."""
        return self.heads * (self.keys_words + self.values_words)

    def keys(self, head: int) -> Stream:
        """What is fetched to multiply Q by K, transposed."""
        return self._stream(self._keys_at(head), self.keys_words)

    def values(self, head: int) -> Stream:
        """What is fetched to multiply probabilities by V."""
        return self._stream(self._values_at(head), self.values_words)

    def store_keys(self, head: int, rows: Buffer, first: int, tokens: int) -> Pattern:
        """K of `tokens` tokens in whole tiles, from token `first` on (the first of a tile) -> WORK.

        `rows` begin with the head's words; they may be longer than the head.
        """
        cols, passes = self.config.cols, self.head // self.config.word_bytes
        return Pattern(
            offset=self._keys_at(head) + first * passes, scratch=rows.start, run=(cols, rows.row),
            first=(passes, cols, 1), second=(tiles(tokens, self.config), cols * passes, cols * rows.row),
        )  # fmt: skip

    def store_values(self, head: int, rows: Buffer, first: int) -> Pattern:
        """V transposed: rows of channels, whole tiles of them, that begin at token `first` (the first of a word).

        `rows` begin with the head's first channel.
        """
        cols, word = self.config.cols, self.config.word_bytes
        whole = align(self.tokens, word) // word  # words of a channel of all tokens
        return Pattern(
            offset=self._values_at(head) + first // word * cols, scratch=rows.start, run=(cols, rows.row),
            first=(rows.row, cols, 1), second=(align(self.head, cols) // cols, whole * cols, cols * rows.row),
        )  # fmt: skip

    def _keys_at(self, head: int) -> int:
        return self.start + head * self.keys_words

    def _values_at(self, head: int) -> int:
        return self.start + self.heads * self.keys_words + head * self.values_words

    @staticmethod
    def _stream(at: int, words: int) -> Stream:
        return Stream(Region.WORK, at, words, (Access("work", at, at + words),))

"""K and V between the items that write them and those that attend: in WORK, in weight-stream order."""

from __future__ import annotations

from dataclasses import dataclass

from firmware.planner.allocator import Buffer
from firmware.planner.dependencies import Access
from firmware.planner.scheduler import Stream
from firmware.planner.transfer import Pattern
from hw.spec.config import Config
from hw.spec.isa import Region
from hw.spec.memory import align, stream_words

__all__ = ["KeyValues", "Transposed"]


def _stream(at: int, words: int) -> Stream:
    return Stream(Region.WORK, at, words, (Access("work", at, at + words),))


@dataclass(frozen=True, kw_only=True)
class Transposed:
    """int8 [tokens, channels] as a weight matrix that reduces over tokens, from word `start` of WORK.

    FETCH streams it as [tile of channels][pass over tokens][channel], tiles of `cols`, passes of one word.
    """

    config: Config
    start: int
    tokens: int
    channels: int

    @property
    def words(self) -> int:
        """Words of it."""
        return stream_words(self.channels, self.tokens, self.config, params=False)

    @property
    def stream(self) -> Stream:
        """What is fetched to multiply by it."""
        return _stream(self.start, self.words)

    def store(self, rows: Buffer, first: int, tokens: int, *, ends: bool = True) -> Pattern:
        """Rows of channels, whole tiles of them, of `tokens` tokens from number `first` on -> WORK.

        The tokens begin within a word as they do in memory. The last word is written whole if it `ends` there, whatever
        it holds beyond the tokens.
        """
        cols, word = self.config.cols, self.config.word_bytes
        whole = align(self.tokens, word) // word  # words of a channel of all tokens
        skip, stop = first % word, first + tokens
        return Pattern(
            offset=self.start + first // word * cols, scratch=rows.start, run=(cols, rows.row),
            first=(-(-stop // word) - first // word, cols, 1),
            second=(align(self.channels, cols) // cols, whole * cols, cols * rows.row),
            skip=skip, drop=0 if ends else -stop % word,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class KeyValues:
    """The K of every head, then the V of every head, of `tokens` tokens, from word `start` of WORK.

    FETCH streams them like any weight: K as [tile of keys][pass over channels][key], tiles of `cols`, passes of one
    word; V as `Transposed`.
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
    def words(self) -> int:
        """Words of all of them."""
        return self.heads * (self.keys_words + self._values.words)

    def keys(self, head: int) -> Stream:
        """What is fetched to multiply Q by K, transposed."""
        return _stream(self._keys_at(head), self.keys_words)

    def values(self, head: int) -> Stream:
        """What is fetched to multiply probabilities by V."""
        return self.values_of(head).stream

    def key_rows(self, first: int, tokens: int) -> int:
        """Rows that `store_keys` reads of its buffer."""
        if first + tokens < self.tokens:
            return tokens
        begun = min(-first % self.config.cols, tokens)
        return begun + align(tokens - begun, self.config.cols)

    def store_keys(self, head: int, heads: int, rows: Buffer, first: int, tokens: int) -> list[Pattern]:
        """K of `tokens` tokens from number `first` on, of `heads` heads -> WORK, in as few transfers as there may be.

        The last tile of all is written whole, whatever its rows beyond the tokens hold. `rows` begin with the words of
        the first head; they may be longer than all of them.
        """
        cols = self.config.cols
        count = self.key_rows(first, tokens)
        if self._passes == 1:  # one key behind the other
            return [self._store_keys(head, rows, first, 0, count, 1, heads)]
        begun = min(-first % cols, tokens)
        whole, rest = divmod(count - begun, cols)
        middle = [(begun, cols, whole)] if whole > heads else [(begun + k * cols, cols, 1) for k in range(whole)]
        cuts = [cut for cut in ((0, begun, 1), *middle, (begun + whole * cols, rest, 1)) if cut[1] and cut[2]]
        found = []
        for row, run, tiles in cuts:
            for k in range(heads if tiles > 1 else 1):
                each = rows.column(k * self._passes)
                found.append(self._store_keys(head + k, each, first, row, run, tiles, 1 if tiles > 1 else heads))
        return found

    @property
    def _passes(self) -> int:
        """Words of a key."""
        return self.head // self.config.word_bytes

    def _store_keys(self, head: int, rows: Buffer, first: int, row: int, run: int, count: int, heads: int) -> Pattern:
        """`run` keys of each of `count` tiles of a head, or of a tile of each of `heads`, from `row` on, which holds
        token `first` + `row`."""
        cols, passes = self.config.cols, self._passes
        tile, key = divmod(first + row, cols)
        groups = (count, cols * passes, cols * rows.row) if count > 1 else (heads, self.keys_words, passes)
        return Pattern(
            offset=self._keys_at(head) + tile * cols * passes + key, scratch=rows.at(row), run=(run, rows.row),
            first=(passes, cols, 1), second=groups,
        )  # fmt: skip

    def _keys_at(self, head: int) -> int:
        return self.start + head * self.keys_words

    def values_of(self, head: int, heads: int = 1) -> Transposed:
        """V of a head, or of several whose channels fill whole tiles."""
        start = self.start + self.heads * self.keys_words + head * self._values.words
        return Transposed(config=self.config, start=start, tokens=self.tokens, channels=heads * self.head)

    @property
    def _values(self) -> Transposed:
        return Transposed(config=self.config, start=0, tokens=self.tokens, channels=self.head)

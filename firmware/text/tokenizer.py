"""Text to token numbers, by the library tokenizers (extra `text`), which only this module imports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware.errors import UserError
from hw.spec.model import Model

__all__ = ["Tokenizer"]


class Tokenizer:
    """A tokenizer of the library's JSON `text`, called `name` in messages; whatever it says of padding is left out.

    Raises UserError if the library is not there or does not know it.
    """

    def __init__(self, text: str, name: str) -> None:
        try:
            import tokenizers
        except ImportError:
            raise UserError("text needs the library tokenizers: pip install 'shiftwork[text]'") from None
        try:
            self._tokenizer: Any = tokenizers.Tokenizer.from_str(text)
        except Exception as error:  # the library raises nothing narrower
            raise UserError(f"{name} is no tokenizer that the library tokenizers knows: {error}") from None
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    @classmethod
    def of(cls, model: Model) -> Tokenizer:
        """That of `model`. Raises UserError if it has none."""
        if not model.text:
            raise UserError(f"model {model.name} reads images, not text")
        if not model.tokenizer:
            raise UserError(f"model {model.name} has no tokenizer: quantize it again with --tokenizer FILE")
        return cls(model.tokenizer, f"the tokenizer of model {model.name}")

    def numbers(self, texts: Sequence[str], vocabulary: int, most: int) -> list[NDArray[np.int64]]:
        """Token numbers of each text, those at its ends among them.

        Raises UserError for an empty text, for more than `most` tokens, and for a token beyond the `vocabulary`.
        """
        found = []
        for number, text in enumerate(texts, 1):
            if not isinstance(text, str) or not text.strip():
                raise UserError(f"text {number} must not be empty, but is {text!r:.80}")
            ids = np.array(self._tokenizer.encode(text).ids, np.int64)
            if not 1 <= len(ids) <= most:
                raise UserError(f"text {number} has {len(ids)} tokens ({text!r:.60}), but there must be 1 to {most}")
            if ids.max() >= vocabulary:
                raise UserError(
                    f"text {number} has token number {ids.max()}, but the model knows {vocabulary}: it is another "
                    "network's tokenizer"
                )
            found.append(ids)
        return found

"""Texts of different lengths as images of one size: each is repeated to the length of the longest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["lengths", "repeated"]

Array = NDArray[Any]


def repeated(texts: Sequence[Array]) -> Array:
    """Images float32 [n, 1, longest, dim] of rows [tokens, dim]."""
    longest = max(map(len, texts))
    return np.stack([np.resize(rows, (longest, rows.shape[1])) for rows in texts])[:, None].astype(np.float32)


def lengths(images: Array) -> Array:
    """Tokens of each text: the first one's row, which has the first one's position in it, begins every repetition."""
    rows = images[:, 0]
    again = np.ones(rows.shape[:2], bool)  # row i + 1 is the first one's; behind the last one a text ends
    again[:, :-1] = np.all(rows[:, 1:] == rows[:, :1], axis=-1)
    return again.argmax(axis=1) + 1

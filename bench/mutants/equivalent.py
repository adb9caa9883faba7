"""The reviewed list of mutants that compute what the source computes, each with its argument."""

from __future__ import annotations

import tomllib
from pathlib import Path

__all__ = ["LIST", "equivalents"]

LIST = Path(__file__).with_name("equivalent.toml")


def equivalents() -> dict[tuple[str, str, int, str, str], str]:
    """The argument of each by `Mutant.change`."""
    entries = tomllib.loads(LIST.read_text(encoding="utf-8")).get("mutant", [])
    keys = ("unit", "text", "column", "was", "becomes")
    return {(*(entry[key] for key in keys),): entry["why"] for entry in entries}

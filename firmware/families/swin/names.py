"""Names of a Swin's tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from numpy.typing import NDArray

from hw.spec.model import ModelError

__all__ = ["depths_of", "official_names"]


def depths_of(names: Iterable[str]) -> tuple[int, ...]:
    """Blocks of each stage of a Swin with these tensor names, official or timm's. Raises ModelError for a gap."""
    found: dict[int, set[int]] = {}
    for name in names:
        match name.split("."):
            case ["layers", stage, "blocks", block, *_] if stage.isdecimal() and block.isdecimal():
                found.setdefault(int(stage), set()).add(int(block))
    if sorted(found) != list(range(len(found))):
        raise ModelError(f"the stages are {sorted(found)}: some layers are missing")
    return tuple(len(found[stage]) for stage in range(len(found)))


def official_names(weights: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """`weights` under official names, which are timm's but for two things.

    timm calls the classifier `head.fc`, and counts the merging to the stage that it opens (`layers.1.downsample` is
    the first), where Swin's authors, I-ViT and older timm count it to the stage before (`layers.0.downsample`).
    """
    opens = any(name.startswith("layers.1.downsample.") for name in weights) and not any(
        name.startswith("layers.0.downsample.") for name in weights
    )
    found = {}
    for name, array in weights.items():
        match name.split("."):
            case ["layers", stage, "downsample", *rest] if opens and stage.isdecimal():
                name = ".".join(["layers", str(int(stage) - 1), "downsample", *rest])
            case ["head", "fc", *rest]:
                name = ".".join(["head", *rest])
        found[name] = array
    return found

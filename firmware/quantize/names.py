"""timm's tensor names, as the official I-ViT code has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

__all__ = ["official_names"]


def official_names(weights: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """`weights` under official names, which are timm's but for two things in Swin.

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

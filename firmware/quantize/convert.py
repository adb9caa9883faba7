"""From a float checkpoint and calibration images to an integer model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware.ivit import model_from_state
from firmware.quantize.ranges import RANGES
from firmware.quantize.vit import VitCalibration
from hw.spec.model import Model, ModelError

__all__ = ["official_state", "quantize"]

Array = NDArray[Any]


def official_state(
    weights: Mapping[str, Array], images: Array, *, heads: int, attention_bits: int = 16, ranges: str = "ema"
) -> dict[str, Array]:
    """Official-layout state of a float ViT with timm's tensor names, calibrated on `images` (float, normalised).

    Raises ModelError for missing or non-finite tensors and for shapes that do not fit.
    """
    if ranges not in RANGES:
        raise ModelError(f"ranges must be one of {', '.join(RANGES)}, not {ranges!r}")
    return VitCalibration(weights, images.astype(np.float64), heads, attention_bits, ranges).run()


def quantize(
    weights: Mapping[str, Array], images: Array, *, name: str, patch: int, heads: int, mean: Sequence[float],
    std: Sequence[float], attention_bits: int = 16, ranges: str = "ema", labels: Sequence[str] = (),
) -> Model:  # fmt: skip
    """The integer model of a float ViT; `images` [n, C, H, W] are normalised floats. Raises ModelError."""
    state = official_state(weights, images, heads=heads, attention_bits=attention_bits, ranges=ranges)
    return model_from_state(
        state, name=name, patch=patch, heads=heads, image=tuple(images.shape[1:]), mean=mean, std=std,
        attention_bits=attention_bits, labels=labels,
    )  # fmt: skip

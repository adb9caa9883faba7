"""From a float checkpoint and calibration images to an integer model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware.ivit.convert import assemble, network
from firmware.quantize.calibration import Calibration
from firmware.quantize.names import official_names
from firmware.quantize.ranges import RANGES
from hw.spec.model import Model, ModelError

__all__ = ["official_state", "quantize"]

Array = NDArray[Any]


def _calibrate(
    weights: Mapping[str, Array], images: Array, patch: int | None, heads: int | None, attention_bits: int | None,
    ranges: str,
) -> tuple[Calibration, Array]:  # fmt: skip
    """The finished graph and the scales of its logits."""
    if ranges not in RANGES:
        raise ModelError(f"ranges must be one of {', '.join(RANGES)}, not {ranges!r}")
    if images.ndim != 4 or not images.size:
        raise ModelError(f"calibration images must be [n, C, H, W], not {list(images.shape)}")
    named = official_names(weights)
    build = Calibration(named, images.astype(np.float64), RANGES[ranges])
    _, channels, height, width = images.shape
    return build, network(build, named, (channels, height, width), patch, heads, attention_bits)


def official_state(
    weights: Mapping[str, Array], images: Array, *, patch: int | None = None, heads: int | None = None,
    attention_bits: int | None = None, ranges: str = "ema",
) -> dict[str, Array]:  # fmt: skip
    """Official-layout state of a float ViT, DeiT or Swin with timm's tensor names; arguments as of `quantize`."""
    return _calibrate(weights, images, patch, heads, attention_bits, ranges)[0].made


def quantize(
    weights: Mapping[str, Array], images: Array, *, name: str, mean: Sequence[float], std: Sequence[float],
    patch: int | None = None, heads: int | None = None, attention_bits: int | None = None, ranges: str = "ema",
    labels: Sequence[str] = (),
) -> Model:  # fmt: skip
    """The integer model of a float ViT, DeiT or Swin with timm's tensor names.

    `images` [n, C, H, W] are normalised floats. Only a ViT needs `heads`; `patch` is checked if it is given;
    `attention_bits` are 16 for a ViT and 8 for a Swin unless they are given. Raises ModelError for missing or
    non-finite tensors and for shapes that do not fit.
    """
    build, logit_scale = _calibrate(weights, images, patch, heads, attention_bits, ranges)
    _, channels, height, width = images.shape
    image = (channels, height, width)
    return assemble(build, logit_scale, name=name, image=image, mean=mean, std=std, labels=labels)

"""From a float checkpoint and calibration images to an integer model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware.families import Wanted, official_tensors
from firmware.graph.assemble import assemble
from firmware.quantizer.calibration import Calibration
from firmware.quantizer.free import FreeCalibration
from firmware.quantizer.measure import Measurement
from firmware.quantizer.ranges import RANGES
from firmware.quantizer.recipes import RECIPES, Recipe
from hw.spec.model import Model, ModelError

__all__ = ["official_state", "quantize"]

Array = NDArray[Any]


def _image(images: Array) -> tuple[int, int, int]:
    """Channels, height and width."""
    _, channels, height, width = images.shape
    return channels, height, width


def _calibrate(
    weights: Mapping[str, Array], images: Array, patch: int | None, heads: int | None, attention_bits: int | None,
    recipe: Recipe, *, measure: Measurement | None = None, pool: str | None = None,
) -> tuple[Calibration, Array]:  # fmt: skip
    """The finished graph and the scales of its logits."""
    if recipe.ranges not in RANGES:
        raise ModelError(f"ranges must be one of {', '.join(RANGES)}, not {recipe.ranges!r}")
    if images.ndim != 4 or not images.size:
        raise ModelError(f"calibration images must be [n, C, H, W], not {list(images.shape)}")
    image = _image(images)
    family, named = official_tensors(weights, pool=pool)
    named = family.fitted(named, image)
    free = recipe.balance is not None or recipe.heads or recipe.gelu == "table"
    kind = FreeCalibration if free else Calibration
    build = kind(named, images.astype(np.float64), recipe, family, measure=measure)
    if attention_bits is None and recipe.softmax == "int_softmax":
        attention_bits = 8  # what its probabilities have
    wanted = Wanted(names=named, image=image, patch=patch, heads=heads, attention_bits=attention_bits, pool=pool)
    logit_scale = family.build(build, wanted)
    if build.measure is not None:
        build.measure.finish(build.result() * logit_scale.astype(np.float64), features=build.features)
    return build, logit_scale


def official_state(
    weights: Mapping[str, Array], images: Array, *, patch: int | None = None, heads: int | None = None,
    attention_bits: int | None = None, ranges: str = "ema",
) -> dict[str, Array]:  # fmt: skip
    """Official-layout state of a float ViT, DeiT or Swin with timm's tensor names; arguments as of `quantize`."""
    return _calibrate(weights, images, patch, heads, attention_bits, Recipe(ranges=ranges))[0].made


def quantize(
    weights: Mapping[str, Array], images: Array, *, name: str, mean: Sequence[float], std: Sequence[float],
    patch: int | None = None, heads: int | None = None, attention_bits: int | None = None,
    labels: Sequence[str] = (), recipe: Recipe = RECIPES["official"], measure: Measurement | None = None,
    pool: str | None = None,
) -> Model:  # fmt: skip
    """The integer model of a float ViT, DeiT or Swin with timm's tensor names.

    `images` [n, C, H, W] are normalised floats; a ViT's position embeddings are fitted to their size as timm does. Only
    a ViT needs `heads`, and has a `pool`, what its head reads: "token" (unless it is given) or "avg". `patch` is
    checked if it is given; `attention_bits` are 16 for a ViT and 8 for a Swin unless they are given. A `recipe` says
    how: which range an activation has, and which freedoms of the graph are used. A `measure` compares everything with
    the float network. Raises ModelError for missing or non-finite tensors and for shapes that do not fit.
    """
    build, logit_scale = _calibrate(weights, images, patch, heads, attention_bits, recipe, measure=measure, pool=pool)
    return assemble(
        build, logit_scale, name=name, image=build.family.stored(_image(images)), mean=mean, std=std, labels=labels
    )

"""Models of the real architectures without trained weights: seeded random weights, calibrated by our quantizer.

The weights are random, the statistics are those of trained networks: pre-GELU values and V of deviation 1, attention
logits of 2 (in Swin with biases of 0.8), norm gains from 0.02 to 1.4 of which some are negative, norm offsets of 0.2.
So every scale, and with it every multiplier, I0 and integer bias, is of the size a trained checkpoint has; what such a
model says about an image means nothing. Cycles, which depend on shapes only, and bit-exactness are what it is for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware.families import FAMILIES, Architecture
from firmware.families.weights import Weights
from firmware.preprocess import normalise
from firmware.quantizer import RECIPES, Recipe, quantize
from hw.spec.model import Model

__all__ = ["float_weights", "images", "make_model"]

Array = NDArray[Any]


def images(shape: Architecture, count: int, seed: int = 0) -> NDArray[np.uint8]:
    """`count` images of noise with the amplitude spectrum of photographs, 1/f, channels strongly correlated."""
    rng, size = np.random.default_rng([seed, 1]), shape.img_size
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    spectrum = np.fft.rfft2(rng.standard_normal((count, 4, size, size))) / np.maximum(frequency, 1 / size)
    spectrum[..., 0, 0] = 0
    noise = np.fft.irfft2(spectrum, (size, size))
    noise /= noise.std(axis=(2, 3), keepdims=True)
    brightness = rng.normal(118, 25, (count, 3, 1, 1))
    return np.clip(np.rint(brightness + 48 * noise[:, :1] + 20 * noise[:, 1:]), 0, 255).astype(np.uint8)


def float_weights(shape: Architecture, seed: int = 0) -> dict[str, Array]:
    """A float checkpoint with timm's tensor names."""
    make = Weights(seed)
    FAMILIES[shape.family].random_weights(shape, make)
    return make.tensors


def make_model(
    shape: Architecture, *, seed: int = 0, attention_bits: int | None = None, calibration: int = 2,
    name: str | None = None, recipe: Recipe = RECIPES["official"],
) -> Model:  # fmt: skip
    """The integer model of `float_weights`, calibrated on `calibration` of `images`. Equal arguments, equal bytes."""
    mean, std = shape.statistics
    return quantize(
        float_weights(shape, seed),
        normalise(images(shape, calibration, seed), mean, std),
        name=name or shape.name,
        patch=shape.patch,
        heads=shape.heads[0] if shape.heads else None,
        mean=mean,
        std=std,
        attention_bits=attention_bits,
        recipe=recipe,
    )

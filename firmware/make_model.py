"""Models of the real architectures without trained weights: seeded random weights, calibrated by our quantizer.

The weights are random, the statistics are those of trained networks: pre-GELU values and V of deviation 1, attention
logits of 2, norm gains from 0.02 to 1.4 of which some are negative, norm offsets of 0.2. So every scale, and with it
every multiplier, I0 and integer bias, is of the size a trained checkpoint has; what such a model says about an image
means nothing. Cycles, which depend on shapes only, and bit-exactness are what it is for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware.errors import UserError
from firmware.preprocess import normalise
from firmware.quantize import quantize
from hw.spec.model import Model

__all__ = ["ARCHITECTURES", "Architecture", "architecture", "float_weights", "images", "make_model"]

Array = NDArray[Any]
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Shape of a ViT, and the pixel statistics its preprocessing assumes."""

    name: str
    dim: int
    depth: int
    heads: int
    img_size: int = 224
    patch: int = 16
    classes: int = 1000
    statistics: tuple[tuple[float, ...], tuple[float, ...]] = _IMAGENET

    @property
    def hidden(self) -> int:
        return 4 * self.dim

    @property
    def tokens(self) -> int:
        return (self.img_size // self.patch) ** 2 + 1


ARCHITECTURES: dict[str, Architecture] = {
    shape.name: shape
    for shape in (
        Architecture(name="deit_tiny_patch16_224", dim=192, depth=12, heads=3),
        Architecture(name="deit_small_patch16_224", dim=384, depth=12, heads=6),
        Architecture(name="deit_base_patch16_224", dim=768, depth=12, heads=12),
        Architecture(name="vit_base_patch16_224", dim=768, depth=12, heads=12, statistics=_HALF),
        Architecture(name="vit_large_patch16_224", dim=1024, depth=24, heads=16, statistics=_HALF),
    )
}
"""timm's names."""


def architecture(name: str, **changes: int | None) -> Architecture:
    """The architecture called `name`, or the only one that starts so, with `changes` that are not None.

    Raises UserError for an unknown name or an impossible shape.
    """
    found = [shape for key, shape in ARCHITECTURES.items() if key == name or key.startswith(f"{name}_")]
    if len(found) != 1:
        raise UserError(f"there is no architecture {name}; known: {', '.join(ARCHITECTURES)}")
    given: dict[str, Any] = {key: value for key, value in changes.items() if value is not None}
    shape = replace(found[0], **given)
    for key in ("dim", "depth", "heads", "img_size", "patch", "classes"):
        if getattr(shape, key) < 1:
            raise UserError(f"{key} must be at least 1, not {getattr(shape, key)}")
    if shape.img_size % shape.patch:
        raise UserError(f"the image size {shape.img_size} is no multiple of the patch size {shape.patch}")
    if shape.dim % shape.heads:
        raise UserError(f"the width {shape.dim} is no multiple of the number of heads {shape.heads}")
    return shape


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


class _Weights:
    """Random tensors under their timm names."""

    def __init__(self, shape: Architecture, seed: int) -> None:
        self.shape, self.rng = shape, np.random.default_rng([seed, 0])
        self.tensors: dict[str, Array] = {}

    def normal(self, size: tuple[int, ...], deviation: float | Array) -> Array:
        """Normal numbers cut at two deviations, as timm's trunc_normal; 0.88 is the deviation that is left."""
        return (np.clip(self.rng.standard_normal(size), -2, 2) / 0.88 * deviation).astype(np.float32)

    def linear(self, name: str, outputs: int, size: tuple[int, ...], power: float, target: float | Array) -> None:
        """Weights that take inputs of total `power` (sum of squares) to outputs of deviation `target`."""
        spread = self.rng.lognormal(0, 0.2, (outputs, 1))
        gain = np.reshape(target, (-1, 1)) * spread / np.sqrt(power)
        weight = self.normal((outputs, int(np.prod(size))), gain)
        self.tensors[f"{name}.weight"] = weight.reshape(outputs, *size)
        self.tensors[f"{name}.bias"] = self.normal((outputs,), 0.1)

    def norm(self, name: str) -> float:
        """Gains and offsets; returns the power of a normalised row."""
        dim = self.shape.dim
        gamma = np.clip(self.rng.normal(0.8, 0.25, dim), 0.02, 1.4)
        gamma[self.rng.random(dim) < 0.02] *= -1
        beta = self.normal((dim,), 0.2)
        self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"] = gamma.astype(np.float32), beta
        return float(np.sum(gamma**2) + np.sum(beta.astype(np.float64) ** 2))

    def block(self, at: str) -> None:
        dim, hidden = self.shape.dim, self.shape.hidden
        # Scores are sums over d of q*k, divided by sqrt(d): their deviation is the product of q's and k's.
        target = np.repeat([2**0.5, 2**0.5, 1.0], dim)
        self.linear(f"{at}.attn.qkv", 3 * dim, (dim,), self.norm(f"{at}.norm1"), target)
        self.linear(f"{at}.attn.proj", dim, (dim,), 0.15 * dim, 0.4)  # attention averages V: variance about 0.15
        self.linear(f"{at}.mlp.fc1", hidden, (dim,), self.norm(f"{at}.norm2"), 1.0)
        self.linear(f"{at}.mlp.fc2", dim, (hidden,), 0.42 * hidden, 0.5)  # mean square of GELU(unit normal): 0.42


def float_weights(shape: Architecture, seed: int = 0) -> dict[str, Array]:
    """A float checkpoint with timm's tensor names."""
    made, dim = _Weights(shape, seed), shape.dim
    pixels = 3 * shape.patch**2
    made.linear("patch_embed.proj", dim, (3, shape.patch, shape.patch), 1.2 * pixels, 0.3)
    made.tensors["cls_token"] = made.normal((1, 1, dim), 0.4)
    made.tensors["pos_embed"] = made.normal((1, shape.tokens, dim), 0.3)
    for index in range(shape.depth):
        made.block(f"blocks.{index}")
    made.linear("head", shape.classes, (dim,), made.norm("norm"), 1.0)
    return made.tensors


def make_model(
    shape: Architecture, *, seed: int = 0, attention_bits: int = 16, calibration: int = 2, name: str | None = None
) -> Model:
    """The integer model of `float_weights`, calibrated on `calibration` of `images`. Equal arguments, equal bytes."""
    mean, std = shape.statistics
    return quantize(
        float_weights(shape, seed),
        normalise(images(shape, calibration, seed), mean, std),
        name=name or shape.name,
        patch=shape.patch,
        heads=shape.heads,
        mean=mean,
        std=std,
        attention_bits=attention_bits,
    )

"""Models of the real architectures without trained weights: seeded random weights, calibrated by our quantizer.

The weights are random, the statistics are those of trained networks: pre-GELU values and V of deviation 1, attention
logits of 2 (in Swin with biases of 0.8), norm gains from 0.02 to 1.4 of which some are negative, norm offsets of 0.2.
So every scale, and with it every multiplier, I0 and integer bias, is of the size a trained checkpoint has; what such a
model says about an image means nothing. Cycles, which depend on shapes only, and bit-exactness are what it is for.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    """Shape of a ViT (one stage, no windows) or Swin, and the pixel statistics its preprocessing assumes."""

    name: str
    dim: int  # of the first stage; each merging doubles it
    depths: tuple[int, ...]  # blocks, by stage
    heads: tuple[int, ...]  # by stage
    patch: int = 16
    window: int = 0  # its side, in tokens; 0 for a ViT
    img_size: int = 224
    classes: int = 1000
    statistics: tuple[tuple[float, ...], tuple[float, ...]] = _IMAGENET

    @property
    def grid(self) -> int:
        """Patches along a side of the image."""
        return self.img_size // self.patch

    @property
    def tokens(self) -> int:
        """Tokens of the first stage: patches and the class token of a ViT."""
        return self.grid**2 + (not self.window)


def _vit(name: str, dim: int, depth: int, **others: Any) -> Architecture:
    return Architecture(name=name, dim=dim, depths=(depth,), heads=(dim // 64,), **others)


def _swin(name: str, dim: int, depth: int) -> Architecture:
    heads = tuple(dim // 32 << stage for stage in range(4))
    return Architecture(name=name, dim=dim, depths=(2, 2, depth, 2), heads=heads, patch=4, window=7)


ARCHITECTURES: dict[str, Architecture] = {
    shape.name: shape
    for shape in (
        _vit("deit_tiny_patch16_224", 192, 12),
        _vit("deit_small_patch16_224", 384, 12),
        _vit("deit_base_patch16_224", 768, 12),
        _vit("vit_base_patch16_224", 768, 12, statistics=_HALF),
        _vit("vit_large_patch16_224", 1024, 24, statistics=_HALF),
        _swin("swin_tiny_patch4_window7_224", 96, 6),
        _swin("swin_small_patch4_window7_224", 96, 18),
        _swin("swin_base_patch4_window7_224", 128, 18),
    )
}
"""timm's names."""


def architecture(
    name: str, *, depth: int | Sequence[int] | None = None, heads: int | Sequence[int] | None = None,
    **changes: int | None,
) -> Architecture:  # fmt: skip
    """The architecture called `name`, or the only one that starts so, with `changes` that are not None.

    `depth` and `heads` are one number per stage; a ViT has one. Raises UserError for an unknown name or an impossible
    shape.
    """
    found = [shape for key, shape in ARCHITECTURES.items() if key == name or key.startswith(f"{name}_")]
    if len(found) != 1:
        raise UserError(f"there is no architecture {name}; known: {', '.join(ARCHITECTURES)}")
    given: dict[str, Any] = {key: value for key, value in changes.items() if value is not None}
    for key, stages in (("depths", depth), ("heads", heads)):
        if stages is not None:
            given[key] = (stages,) if isinstance(stages, int) else tuple(stages)
    if "window" in given and not (found[0].window and given["window"] > 0):
        raise UserError(f"{found[0].name} cannot have windows of {given['window']} tokens along a side")
    shape = replace(found[0], **given)
    _check(shape)
    return shape


def _check(shape: Architecture) -> None:
    for key in ("dim", "img_size", "patch", "classes"):
        if getattr(shape, key) < 1:
            raise UserError(f"{key} must be at least 1, not {getattr(shape, key)}")
    for key, numbers in (("depth", shape.depths), ("heads", shape.heads)):
        if not numbers or min(numbers) < 1:
            raise UserError(f"{key} must be at least 1, not {', '.join(map(str, numbers))}")
    if len(shape.depths) != len(shape.heads) or (len(shape.depths) > 1 and not shape.window):
        raise UserError(
            f"depth and heads must be a number per stage of {shape.name}, not {_text(shape.depths)} and "
            f"{_text(shape.heads)}"
        )
    if shape.img_size % shape.patch:
        raise UserError(f"the image size {shape.img_size} is no multiple of the patch size {shape.patch}")
    for stage, heads in enumerate(shape.heads):
        if (shape.dim << stage) % heads:
            raise UserError(f"the width {shape.dim << stage} is no multiple of the number of heads {heads}")
    if shape.window:
        _check_windows(shape)


def _check_windows(shape: Architecture) -> None:
    grid = shape.grid
    for stage in range(len(shape.depths)):
        window = min(shape.window, grid)
        if grid % window:
            raise UserError(f"windows of {window} x {window} do not divide the {grid} x {grid} tokens of stage {stage}")
        if stage + 1 < len(shape.depths) and grid % 2:
            raise UserError(f"the {grid} x {grid} tokens of stage {stage} cannot be merged two by two")
        grid //= 2


def _text(numbers: Sequence[int]) -> str:
    return " ".join(map(str, numbers))


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

    def linear(
        self, name: str, outputs: int, size: tuple[int, ...], power: float, target: float | Array, *, bias: bool = True
    ) -> None:
        """Weights that take inputs of total `power` (sum of squares) to outputs of deviation `target`."""
        spread = self.rng.lognormal(0, 0.2, (outputs, 1))
        gain = np.reshape(target, (-1, 1)) * spread / np.sqrt(power)
        weight = self.normal((outputs, int(np.prod(size))), gain)
        self.tensors[f"{name}.weight"] = weight.reshape(outputs, *size)
        if bias:
            self.tensors[f"{name}.bias"] = self.normal((outputs,), 0.1)

    def norm(self, name: str, dim: int) -> float:
        """Gains and offsets; returns the power of a normalised row."""
        gamma = np.clip(self.rng.normal(0.8, 0.25, dim), 0.02, 1.4)
        gamma[self.rng.random(dim) < 0.02] *= -1
        beta = self.normal((dim,), 0.2)
        self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"] = gamma.astype(np.float32), beta
        return float(np.sum(gamma**2) + np.sum(beta.astype(np.float64) ** 2))

    def patch_embed(self, target: float) -> None:
        patch = self.shape.patch
        self.linear("patch_embed.proj", self.shape.dim, (3, patch, patch), 1.2 * 3 * patch**2, target)

    def block(self, at: str, dim: int, averaged: float) -> None:
        """One block; attention leaves the share `averaged` of V's variance."""
        # Scores are sums over d of q*k, divided by sqrt(d): their deviation is the product of q's and k's.
        target = np.repeat([2**0.5, 2**0.5, 1.0], dim)
        self.linear(f"{at}.attn.qkv", 3 * dim, (dim,), self.norm(f"{at}.norm1", dim), target)
        self.linear(f"{at}.attn.proj", dim, (dim,), averaged * dim, 0.4)
        self.linear(f"{at}.mlp.fc1", 4 * dim, (dim,), self.norm(f"{at}.norm2", dim), 1.0)
        self.linear(f"{at}.mlp.fc2", dim, (4 * dim,), 0.42 * 4 * dim, 0.5)  # mean square of GELU(unit normal): 0.42

    def vit(self) -> None:
        shape, dim = self.shape, self.shape.dim
        self.patch_embed(0.3)
        self.tensors["cls_token"] = self.normal((1, 1, dim), 0.4)
        self.tensors["pos_embed"] = self.normal((1, shape.tokens, dim), 0.3)
        for index in range(shape.depths[0]):
            self.block(f"blocks.{index}", dim, 0.15)
        self.linear("head", shape.classes, (dim,), self.norm("norm", dim), 1.0)

    def swin(self) -> None:
        shape, dim = self.shape, self.shape.dim
        self.patch_embed(1.0)
        self.norm("patch_embed.norm", dim)
        for stage, (depth, heads) in enumerate(zip(shape.depths, shape.heads, strict=True)):
            at, side = f"layers.{stage}", min(shape.window, shape.grid >> stage)
            if stage:
                power = self.norm(f"{at}.downsample.norm", 4 * dim)
                self.linear(f"{at}.downsample.reduction", 2 * dim, (4 * dim,), power, 0.8, bias=False)
                dim *= 2
            for index in range(depth):
                self.block(f"{at}.blocks.{index}", dim, 0.2)
                table = self.normal(((2 * side - 1) ** 2, heads), 0.8)
                self.tensors[f"{at}.blocks.{index}.attn.relative_position_bias_table"] = table
        power = self.norm("norm", dim)
        # Random weights make the rows of a grid alike, and their mean as large as each.
        self.linear("head.fc", shape.classes, (dim,), power, 1.0)


def float_weights(shape: Architecture, seed: int = 0) -> dict[str, Array]:
    """A float checkpoint with timm's tensor names."""
    made = _Weights(shape, seed)
    if shape.window:
        made.swin()
    else:
        made.vit()
    return made.tensors


def make_model(
    shape: Architecture, *, seed: int = 0, attention_bits: int | None = None, calibration: int = 2,
    name: str | None = None,
) -> Model:  # fmt: skip
    """The integer model of `float_weights`, calibrated on `calibration` of `images`. Equal arguments, equal bytes."""
    mean, std = shape.statistics
    return quantize(
        float_weights(shape, seed),
        normalise(images(shape, calibration, seed), mean, std),
        name=name or shape.name,
        patch=shape.patch,
        heads=None if shape.window else shape.heads[0],
        mean=mean,
        std=std,
        attention_bits=attention_bits,
    )

"""Position embeddings: of which tokens, and on another grid of patches, as timm resamples them."""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware.errors import UserError

__all__ = ["aligned", "resampled"]

Array = NDArray[Any]
f32 = np.float32
_CUBIC = -0.5  # of the antialiased kernel in PyTorch and Pillow; both interpolate between the centres of pixels


def aligned(weights: Mapping[str, Array]) -> dict[str, Array]:
    """`weights` with one row of positions for every token: the class token, registers, patches.

    Registers (`reg_token`) become further class tokens. Positions may be of all of these, of patches alone (timm's
    `no_embed_class`), or of all but registers (DINOv2's own); rows of zeros stand for those that are not there.
    """
    found = dict(weights)
    registers = found.pop("reg_token", None)
    cls, positions = found.get("cls_token"), found.get("pos_embed")
    if cls is None or positions is None or cls.ndim != 3 or positions.ndim != 3:
        return {**found, **({} if registers is None else {"reg_token": registers})}  # refused where they are used
    if registers is not None:
        if registers.ndim != 3 or registers.shape[2] != cls.shape[2]:
            raise UserError(f"tensor reg_token must have shape [1, any, {cls.shape[2]}], not {list(registers.shape)}")
        cls = found["cls_token"] = np.concatenate([cls, registers], axis=1)
    prefix, dim = cls.shape[1:]
    count = positions.shape[1]
    if prefix > 1 and not _is_square(count - prefix) and _is_square(count - 1):
        empty = np.zeros((1, prefix - 1, dim), f32)
        found["pos_embed"] = np.concatenate([positions[:, :1], empty, positions[:, 1:]], axis=1)
    elif not _is_square(count - prefix) and _is_square(count):
        found["pos_embed"] = np.concatenate([np.zeros((1, prefix, dim), f32), positions], axis=1)
    return found


def _is_square(count: int) -> bool:
    return count > 0 and isqrt(count) ** 2 == count


def resampled(positions: Array, prefix: int, grid: tuple[int, int]) -> Array:
    """Positions [1, prefix + patches, dim] of a square grid as those of `grid`; the first `prefix` stay as they are.

    Bicubic and antialiased, float32, as timm's `resample_abs_pos_embed`. Raises UserError for patches in no square.
    """
    count, dim = positions.shape[1] - prefix, positions.shape[2]
    if count == grid[0] * grid[1]:
        return positions
    side = isqrt(max(count, 0))
    if not _is_square(count):
        raise UserError(f"tensor pos_embed must be of {prefix} and a square of patches, not of {positions.shape[1]}")
    square = positions[0, prefix:].astype(np.float64).reshape(side, side, dim)
    down, across = (_kernel(side, size) for size in grid)
    patches = np.einsum("ya,xb,abc->yxc", down, across, square, optimize=True).reshape(1, -1, dim)
    return np.concatenate([positions[:, :prefix], patches.astype(f32)], axis=1)


def _kernel(before: int, after: int) -> Array:
    """The matrix [after, before] of a resize along one axis."""
    step = before / after
    stretch = max(step, 1.0)
    distance = np.abs(np.arange(before) + 0.5 - (np.arange(after)[:, None] + 0.5) * step) / stretch
    near = ((_CUBIC + 2) * distance - (_CUBIC + 3)) * distance**2 + 1
    far = _CUBIC * (((distance - 5) * distance + 8) * distance - 4)
    weights = np.where(distance < 1, near, np.where(distance < 2, far, 0))
    return weights / weights.sum(axis=1, keepdims=True)

"""Inputs that a script with other packages and a test without them make alike."""

import zlib

import numpy as np

__all__ = ["pattern", "weight"]


def pattern(high, wide):
    """uint8 [high, wide, 3], by integers alone: the same everywhere."""
    y, x = np.mgrid[:high, :wide]
    return np.stack([(x * y) % 256, (3 * x + 5 * y) % 256, (x * x + y) % 256], -1).astype(np.uint8)


def weight(name, shape):
    """A network's float32 parameter of the size that training leaves, from its name alone."""
    drawn = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
    if "norm" in name:
        drawn = 1 + drawn / 5 if name.endswith("weight") else drawn / 5
    elif len(shape) > 1 and name.endswith("weight"):
        drawn *= 1.2 / np.prod(shape[1:]) ** 0.5
    else:
        drawn *= 0.3
    return drawn.astype(np.float32)

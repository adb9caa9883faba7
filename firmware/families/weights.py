"""Random tensors with the statistics of trained ones: what every family's weights without training are made of."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Weights"]

Array = NDArray[Any]


class Weights:
    """Random tensors under their timm names, in `tensors`. Equal seeds and equal calls, equal tensors."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng([seed, 0])
        self.tensors: dict[str, Array] = {}

    def normal(self, size: tuple[int, ...], deviation: float | Array) -> Array:
        """Normal numbers cut at two deviations, as timm's trunc_normal; 0.88 is the deviation that is left."""
        return (np.clip(self._rng.standard_normal(size), -2, 2) / 0.88 * deviation).astype(np.float32)

    def linear(
        self, name: str, outputs: int, size: tuple[int, ...], power: float, target: float | Array, *, bias: bool = True
    ) -> None:
        """Weights that take inputs of total `power` (sum of squares) to outputs of deviation `target`."""
        spread = self._rng.lognormal(0, 0.2, (outputs, 1))
        gain = np.reshape(target, (-1, 1)) * spread / np.sqrt(power)
        weight = self.normal((outputs, int(np.prod(size))), gain)
        self.tensors[f"{name}.weight"] = weight.reshape(outputs, *size)
        if bias:
            self.tensors[f"{name}.bias"] = self.normal((outputs,), 0.1)

    def norm(self, name: str, dim: int) -> float:
        """Gains and offsets; returns the power of a normalised row."""
        gamma = np.clip(self._rng.normal(0.8, 0.25, dim), 0.02, 1.4)
        gamma[self._rng.random(dim) < 0.02] *= -1
        beta = self.normal((dim,), 0.2)
        self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"] = gamma.astype(np.float32), beta
        return float(np.sum(gamma**2) + np.sum(beta.astype(np.float64) ** 2))

    def patch_embed(self, dim: int, patch: int, target: float) -> None:
        """The embedding of patches of photographs, to tokens of deviation `target`."""
        self.linear("patch_embed.proj", dim, (3, patch, patch), 1.2 * 3 * patch**2, target)

    def block(self, at: str, dim: int, averaged: float) -> None:
        """One block; attention leaves the share `averaged` of V's variance."""
        # Scores are sums over d of q*k, divided by sqrt(d): their deviation is the product of q's and k's.
        target = np.repeat([2**0.5, 2**0.5, 1.0], dim)
        self.linear(f"{at}.attn.qkv", 3 * dim, (dim,), self.norm(f"{at}.norm1", dim), target)
        self.linear(f"{at}.attn.proj", dim, (dim,), averaged * dim, 0.4)
        self.linear(f"{at}.mlp.fc1", 4 * dim, (dim,), self.norm(f"{at}.norm2", dim), 1.0)
        self.linear(f"{at}.mlp.fc2", dim, (4 * dim,), 0.42 * 4 * dim, 0.5)  # mean square of GELU(unit normal): 0.42

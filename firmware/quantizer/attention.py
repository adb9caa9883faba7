"""Attention head by head: scales of Q, K, V, scores, probabilities and context, and what a softmax does not see."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware.quantizer.calibration import Calibration
from firmware.quantizer.ragged import ended
from firmware.quantizer.ranges import choose_scale, symmetric_scale
from firmware.quantizer.scores import score_scale, some_rows

__all__ = ["AttentionCalibration"]

Array = NDArray[Any]
f32 = np.float32


class AttentionCalibration(Calibration):
    """`Calibration` by a `Recipe` that may have one scale for each head."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._removed: dict[str, Array] = {}  # means that were taken out of what a node gives, by channel
        super().__init__(*arguments, **options)

    def _unseen(self, real: Array) -> Array:
        """What channels [.., C] of `real` less their centres are to reach at least.

        What tokens of n images have in common may be the images' own. Others may differ from it by as much as a mean of
        n differs from none: by 1/sqrt(n) of it.
        """
        reach: Array = np.abs(real).max(axis=tuple(range(real.ndim - 1))) / np.sqrt(len(self.images))
        return reach

    def scores(
        self, at: str, source: str, s_in: Array, dim: int, heads: int, *, use: str = "values", **windows: int
    ) -> tuple[Array, Array]:
        if self.recipe.heads:
            self._centre(at, source, s_in, dim)
        return super().scores(at, source, s_in, dim, heads, use=use, **windows)

    def _centre(self, at: str, source: str, s_in: Array, dim: int) -> None:
        """Takes the means of K and V out of them: the float network stays.

        A softmax does not see what all its scores have in common, and of what all values have in common its row gives
        once, which the projection's bias does as well. Scores, K, V and context have less to span then.
        """
        qkv, proj = f"{at}.qkv", f"{at}.proj"
        if not {f"{qkv}.bias", f"{proj}.bias"} <= self.weights.keys():
            return
        codes = self._values[source]
        x = codes.reshape(-1, codes.shape[-1]).mean(0) * np.asarray(s_in, np.float64) + self._centres.get(qkv, 0.0)
        weight, bias, out = (self._float(key) for key in (f"{qkv}.weight", f"{qkv}.bias", f"{proj}.weight"))
        if weight.shape != (3 * dim, dim) or bias.shape != (3 * dim,) or out.shape[1:] != (dim,):
            return  # refused where they are used
        mean = weight[dim:].astype(np.float64) @ x + bias[dim:]
        self._removed[qkv], self._removed[f"{at}.matmul_2"] = np.concatenate([np.zeros(dim), mean]), mean[dim:]
        self.weights[f"{qkv}.bias"] = np.concatenate([bias[:dim], bias[dim:] - mean]).astype(f32)
        self.weights[f"{proj}.bias"] = (self._float(f"{proj}.bias") + out.astype(np.float64) @ mean[dim:]).astype(f32)

    def requantize(
        self, name: str, source: str, s_in: Array, bits: int = 8, *, use: str = "values", heads: int = 0, axis: int = -1
    ) -> Array:
        if not heads or not self.recipe.heads:
            return super().requantize(name, source, s_in, bits, use=use, heads=heads, axis=axis)
        real = self._real(source, s_in)
        each = np.split(real, heads, axis)
        law = self.laws.softmax  # Shiftmax's scores are not searched for I0, which follows any scale
        ranged = ("values" if law == "shiftmax" else law) if use == "shiftmax" else use
        scales = np.array([choose_scale(self.recipe.ranges, part, bits, ranged) for part in each], f32)
        if source in self._removed:
            least = self._unseen(real + self._removed[source]).reshape(heads, -1).max(axis=1)
            scales = np.maximum(scales, [symmetric_scale(reach, bits) for reach in least]).astype(f32)
        if use == law == "shiftmax":
            longest = self.family.longest(self.weights)
            found = [
                score_scale(some_rows(ended(part, self._lengths, -(2.0**20))), float(scale), longest)
                for part, scale in zip(each, scales, strict=True)
            ]
            scales = np.array([scale for scale, _, _ in found], f32)
            i0, fraction = (np.array([row[part] for row in found])[:, None, None] for part in (1, 2))
            self._exponents[name] = (i0, fraction)
        s_out = scales[:, None, None] if axis == -3 else np.repeat(scales, real.shape[-1] // heads)
        self._told(real, s_out, bits)
        return self.scaled(name, source, s_in, s_out, bits)

    def shiftmax(self, name: str, *sources: str, scale: Array, bits: int) -> Array:
        """With heads, each one's probabilities stand for what makes their rows sum up to one on average."""
        law = super().shiftmax(name, *sources, scale=scale, bits=bits)
        if not self.recipe.heads:
            return law
        sums = self._values[name].sum(axis=-1, dtype=np.float64)  # [B, heads, n], or with windows behind B
        sums = np.moveaxis(sums, -2, 0)
        scales = self._summing_to_one(sums.reshape(len(sums), -1).mean(axis=1), np.ravel(law))
        return self._gave(name, scales[:, None, None])

    def add(
        self, name: str, source: str, s_in: Array, identity: str, s_identity: Array, bits: int = 16, *,
        use: str = "values",
    ) -> Array:  # fmt: skip
        """Scores of all heads in one scale, for Shiftmax, get one that it takes exactly."""
        if use != "shiftmax" or not self.recipe.heads or self.laws.softmax != "shiftmax":
            return super().add(name, source, s_in, identity, s_identity, bits, use=use)
        real = self._real(source, s_in) + self._real(identity, s_identity)
        least = choose_scale(self.recipe.ranges, real, bits)
        scale, i0, fraction = score_scale(some_rows(real), float(least))
        self._exponents[name] = np.array([i0]), np.array([fraction])
        self._told(real, scale, bits)
        return self.summed(name, source, s_in, identity, s_identity, np.asarray(scale), bits)

    def exponent(self, name: str, source: str, scale: Array) -> tuple[Array, Array]:
        return self._exponents[source] if source in self._exponents else super().exponent(name, source, scale)

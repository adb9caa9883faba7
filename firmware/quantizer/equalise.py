"""Power-of-two factors per channel, where the integer graph has room for them: between a LayerNorm and a linear.

FQ-ViT's factors sit on a LayerNorm's input, where channels differ most. This graph cannot have them there: I-LayerNorm
sums the channels as they are, and the residual addition has one factor pair for all of them. It needs them less, as the
input has 16 bits, which is eight more everywhere where FQ-ViT's factors give up to three. On a LayerNorm's output,
which has 8 bits, they cost nothing: the requantizer there has a factor per channel anyway. A channel's gain and offset
are divided by 2^a and the columns of the linear that reads it multiplied: exactly the same float network.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware.graph.constants import quantized
from firmware.quantizer.ranges import symmetric_scale

__all__ = ["exponents"]

Array = NDArray[Any]
_ROWS = 1024  # of activations that are tried
_MOST = 3  # as FQ-ViT


def exponents(real: Array, weight: Array) -> Array:
    """Exponents (0 to 3) of the factors that divide channels of `real` [..., C] and multiply `weight` [out, C].

    With at most k for the largest channel, each gets the least that brings it to 2^-k of the largest magnitude; of the
    four k that one wins whose quantized product is nearest to the float one on these activations.
    """
    rows = real.reshape(-1, real.shape[-1])
    rows = rows[:: max(1, len(rows) // _ROWS)]
    largest = np.abs(real.reshape(-1, real.shape[-1])).max(0)
    expected = rows @ weight.T.astype(np.float64)
    tried = [_least_exponents(largest, most) for most in range(_MOST + 1)]
    return tried[int(np.argmin([_error(rows, weight, a, expected) for a in tried]))]


def _least_exponents(largest: Array, most: int) -> Array:
    target = largest.max() / 2.0**most
    with np.errstate(divide="ignore"):
        return np.clip(np.ceil(np.log2(largest / target)), 0, most) if target > 0 else np.zeros(len(largest))


def _error(rows: Array, weight: Array, a: Array, expected: Array) -> float:
    factor = 2.0**a
    x, w = rows / factor, weight * factor
    s_x = symmetric_scale(np.abs(x).max(), 8)
    s_w = np.maximum(np.abs(w).max(1) / 127, 2.0**-23).astype(np.float32)
    found = (quantized(x, s_x, 8) @ quantized(w, s_w[:, None], 8).T) * (float(s_x) * s_w.astype(np.float64))
    return float(np.square(found - expected).sum())

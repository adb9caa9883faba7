"""Ways to choose the range of an activation quantizer, and the scale that a range gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["RANGES", "symmetric_scale"]

Array = NDArray[Any]
f32 = np.float32
_MOMENTUM = 0.95  # of I-ViT's QuantAct


def _ema(batches: list[Array]) -> float:
    """I-ViT's running minimum and maximum: exponential average over batches, started at the first."""
    low, high = float(batches[0].min()), float(batches[0].max())
    for batch in batches[1:]:
        low = _MOMENTUM * low + (1 - _MOMENTUM) * float(batch.min())
        high = _MOMENTUM * high + (1 - _MOMENTUM) * float(batch.max())
    return max(-low, high)


RANGES: dict[str, Callable[[list[Array]], float]] = {
    "ema": _ema,
    "minmax": lambda batches: max(float(np.abs(batch).max()) for batch in batches),
    "percentile": lambda batches: float(np.percentile(np.abs(np.concatenate([b.ravel() for b in batches])), 99.99)),
}
"""Ways to choose an activation range: name -> function of the calibration batches."""


def symmetric_scale(limit: float, bits: int) -> Any:
    """Scale of a symmetric quantizer: fl(limit / (2^(bits-1)-1)), at least 2^-23 (I-ViT's guard is the float32 eps)."""
    return max(f32(limit) / f32(2 ** (bits - 1) - 1), f32(2.0**-23))

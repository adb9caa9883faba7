"""Ways to choose the scale of an activation quantizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware.graph.constants import gelu_i0, quantized, softmax_i0
from firmware.graph.rivals import LEAST_GELU, LEAST_SCORE
from firmware.quantizer.reference import gelu, softmax
from hw.spec import arith

__all__ = ["RANGES", "USES", "choose_scale", "least_scale", "symmetric_scale"]

Array = NDArray[Any]
f32 = np.float32
_BATCH = 16  # images per step of the running range
_MOMENTUM = 0.95  # of I-ViT's QuantAct
_SAMPLE = 1 << 17  # elements that a search looks at
_RATIOS = 0.96 ** np.arange(40)  # of the largest magnitude down to a fifth


def _ema(batches: list[Array]) -> float:
    """I-ViT's running minimum and maximum: exponential average over batches, started at the first."""
    low, high = float(batches[0].min()), float(batches[0].max())
    for batch in batches[1:]:
        low = _MOMENTUM * low + (1 - _MOMENTUM) * float(batch.min())
        high = _MOMENTUM * high + (1 - _MOMENTUM) * float(batch.max())
    return max(-low, high)


def _largest(batches: list[Array]) -> float:
    return max(float(np.abs(batch).max()) for batch in batches)


RANGES: dict[str, Callable[[list[Array]], float]] = {
    "ema": _ema,
    "minmax": _largest,
    "percentile": lambda batches: float(np.percentile(np.abs(np.concatenate([b.ravel() for b in batches])), 99.99)),
    "mse": _largest,
}
"""Ways to choose an activation range: name -> function of the calibration batches. "mse" searches on from there."""

USES = ("values", "shiftmax", "gelu", "int_softmax", "log_int_softmax", "int_gelu")
"""What a quantizer's integers go to: what a search makes exact."""


def symmetric_scale(limit: float, bits: int) -> Any:
    """Scale of a symmetric quantizer: fl(limit / (2^(bits-1)-1)), at least 2^-23 (I-ViT's guard is the float32 eps)."""
    return max(f32(limit) / f32(2 ** (bits - 1) - 1), f32(2.0**-23))


def least_scale(use: str, width: int) -> float:
    """Finest scale that an operator on rows of `width` takes without clamping its sum of exponentials.

    Shiftmax's reaches width*I0*2^15 of 2^31, ShiftGELU's 2*I0*2^23; I0 itself has 10 bits. Only networks without
    training have ranges so small; a coarser scale than theirs loses nothing there.
    """
    if use == "shiftmax":
        return 1 / (min(1023, (1 << 16) // width) - 1)
    return {
        "gelu": 1 / (254 * 1.702),
        "int_softmax": LEAST_SCORE,
        "log_int_softmax": LEAST_SCORE,
        "int_gelu": LEAST_GELU,
    }.get(use, 0.0)


def choose_scale(name: str, real: Array, bits: int, use: str = "values") -> Any:
    """Scale (float32) by the way `name` of RANGES for a quantizer that gets `real`, images first."""
    limit = RANGES[name]([real[i : i + _BATCH] for i in range(0, len(real), _BATCH)])
    scale = symmetric_scale(limit, bits)
    least = f32(least_scale(use, real.shape[-1]))
    if name == "mse" and bits == 8 and limit > 0:
        scale = _search(real, float(limit), use if use in _OPERATORS else "values", float(least))
    return max(scale, least)


def _search(real: Array, limit: float, use: str, least: float) -> Any:
    """The 8-bit scale of least squared error behind the operator that gets the integers."""
    rows = real.reshape(-1, real.shape[-1])
    rows = rows[:: max(1, rows.size // _SAMPLE)]
    expected, computed, unit = _OPERATORS[use]
    scales: list[Any] = [f32(ratio * limit / 127) for ratio in _RATIOS]
    if unit:
        # I0 is a reciprocal rounded up: that of a scale just above a whole reciprocal is exact.
        whole = sorted({int(1 / (unit * scale)) for scale in scales} - {0})
        scales = [np.nextafter(f32(1 / (unit * i0)), f32(1)) for i0 in whole]
    scales = [scale for scale in scales if scale >= least] or [f32(least)]
    wanted = expected(rows)
    errors = [float(np.square(computed(quantized(rows, scale, 8), scale) - wanted).sum()) for scale in scales]
    return scales[int(np.argmin(errors))]


def _shiftmax(x: Array, scale: Any) -> Array:
    return arith.shiftmax(x, softmax_i0(scale), bits=16) / 2.0**15


def _shift_gelu(x: Array, scale: Any) -> Array:
    return arith.shift_gelu(x, gelu_i0(scale)) * (float(scale) / 128)


_OPERATORS: dict[str, tuple[Callable[[Array], Array], Callable[[Array, Any], Array], float]] = {
    "values": (lambda x: x, lambda x, scale: x * float(scale), 0),
    "shiftmax": (softmax, _shiftmax, 1),
    "gelu": (lambda x: gelu(x.astype(f32)), _shift_gelu, 1.702),
}
"""Use -> what is wanted of real values, what is computed of integers, and what multiplies the scale in I0."""

"""The scale of scores, for which Shiftmax has an I0 and fraction bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware.graph.constants import quantized
from firmware.quantizer.reference import softmax
from hw.spec import arith

__all__ = ["score_scale", "some_rows"]

Array = NDArray[Any]
f32 = np.float32
_FRACTION = 7  # bits that Shiftmax has behind the point
_OCTAVE = 23 / 16 * float(np.log(2))  # of natural logarithms: Shiftmax takes 23/16 for 1/ln 2
_COARSER = 1.25  # scales than the finest that are looked at
_WAYS = 6  # of I0 for a number of fraction bits
_ROWS = 256  # of scores that are looked at


def score_scale(rows: Array, least: float, longest: int | None = None) -> tuple[Any, int, int]:
    """(scale, I0, fraction bits) of int8 scores of which `rows` [n, width] are examples; the scale is at least `least`.

    Shiftmax's base is 2, to -23/16 of x, so that I0 = 2^fraction / scale * 23/16 * ln 2, which is whole for the scales
    that are looked at. Of these, up to a quarter coarser than the finest, it is the one with the nearest probabilities.
    A large I0 tells finer exponentials apart, but its sums leave the division few bits: a row of n like
    scores has a factor of floor(2^16 / (n * I0)). No row may clamp its sum of exponentials. Beyond a scale of 2^7
    scores clamp. Rows may be as wide as the `longest`, if that is given.
    """
    most = min(1023, ((1 << 16) - 1) // max(rows.shape[-1], longest or 0))
    tops = {f: min(int(_OCTAVE * (1 << f) / least), most) for f in range(_FRACTION + 1)}
    scales = {
        (i0, f): f32(_OCTAVE * (1 << f) / i0)
        for f, top in tops.items()
        for i0 in {int(top / coarser) for coarser in np.linspace(1, _COARSER, _WAYS)} - {0}
    }
    finest = min(scales.values(), default=f32(0))
    scales = {key: scale for key, scale in scales.items() if scale <= _COARSER * finest}
    wanted, errors = softmax(rows), {}
    for (i0, f), scale in scales.items():
        codes = quantized(rows, np.asarray(scale), 8)
        law = arith.shiftmax(codes, i0, bits=16, fraction=f) / 2.0**15
        errors[i0, f] = float(np.square(law / law.sum(axis=-1).mean() - wanted).sum())
    i0, f = min(errors, key=lambda key: errors[key], default=(1, _FRACTION))
    return f32(_OCTAVE * (1 << f) / i0), i0, f


def some_rows(real: Array) -> Array:
    """About `_ROWS` of the rows of `real`, [n, width]."""
    rows = real.reshape(-1, real.shape[-1])
    return rows[:: max(1, len(rows) // _ROWS)]

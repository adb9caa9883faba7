"""FQ-ViT's power-of-two factors of LayerNorm inputs, chosen as FQ-ViT does: those of the least squared error."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hw.spec import rivals

__all__ = ["chosen"]

_MOST_SHIFT = 7
_CODE = 127  # the largest


def chosen(x: NDArray[np.integer]) -> tuple[int, NDArray[np.int8]]:
    """(shift, exponents [channels]) for integers x [..., channels].

    The coarsest factor clamps nothing, or is half of that: whichever gives the lesser error in all.
    """
    rows = x.reshape(-1, x.shape[-1]).astype(np.int64)
    reach, most = int(np.abs(rows).max(initial=0)), rivals.FACTOR_EXPONENTS - 1
    whole = next((s for s in range(_MOST_SHIFT) if _CODE << (s + most) >= reach), _MOST_SHIFT)
    found = []
    for shift in {max(whole - 1, 0), whole}:
        errors = np.stack([
            np.square(rows - (rivals.ptf_input(rows, a, shift) << shift)).sum(axis=0) for a in range(most + 1)
        ])
        found.append((int(errors.min(axis=0).sum()), shift, errors.argmin(axis=0).astype(np.int8)))
    _, shift, exponents = min(found, key=lambda one: one[0])
    return shift, exponents

"""Rounding of weights that minds what they are multiplied by."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["compensated"]

Array = NDArray[Any]
_DAMPING = 0.01  # of the mean power of the inputs, as GPTQ, ...
_FEW = 0.1  # ... or so much for each input that there is to a sample: few samples say little of many directions
_BLOCK = 128  # columns after which what is left over reaches the others


def compensated(steps: Array, inputs: Array, limit: int) -> Array:
    """Integers within -limit..limit near `steps` [out, in], for which sums over `inputs` [n, in] are nearest.

    Columns are rounded one after the other, and what rounding one of them does to the products of these inputs is made
    good by the columns that are left (GPTQ, Frantar et al. 2023, with inputs in the order of their power).
    """
    gram = inputs.T @ inputs
    power = np.diag(gram)
    order = np.argsort(-power)
    damping = max(_DAMPING, _FEW * inputs.shape[1] / len(inputs)) * float(power.mean())
    gram = gram[np.ix_(order, order)] + np.eye(len(gram)) * max(damping, 1e-30)
    upper = np.linalg.cholesky(np.linalg.inv(gram)).T  # inverse of what is left, column by column
    left = steps[:, order].astype(np.float64)
    found = np.empty_like(left)
    for start in range(0, left.shape[1], _BLOCK):
        stop = min(start + _BLOCK, left.shape[1])
        errors = np.empty((len(left), stop - start))
        for column in range(start, stop):
            found[:, column] = np.clip(np.rint(left[:, column]), -limit, limit)
            error = errors[:, column - start] = (left[:, column] - found[:, column]) / upper[column, column]
            left[:, column:stop] -= np.outer(error, upper[column, column:stop])
        left[:, stop:] -= errors @ upper[start:stop, stop:]
    back = np.empty_like(found)
    back[:, order] = found
    return back.astype(np.int64)

"""The golden model's operators on compiled kernels: equal to `hw.spec.arith`, many times faster."""

import functools
import warnings
from typing import Any

from hw.spec import arith
from sim.fast.laws import FastLaws
from sim.fast.library import load
from sim.libraries import BuildError

__all__ = ["FastLaws", "fast_laws"]


@functools.cache
def fast_laws() -> Any:
    """The fast laws; where they cannot be compiled, a warning and `hw.spec.arith` itself."""
    try:
        return FastLaws(load())
    except BuildError as error:
        warnings.warn(f"the golden model runs on NumPy, far slower: {error}", RuntimeWarning, stacklevel=3)
        return arith

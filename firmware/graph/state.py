"""A state in the official layout: every tensor is checked as it is taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hw.spec.model import ModelError

__all__ = ["State"]

Array = NDArray[Any]
f32 = np.float32


class State:
    """Tensors by name. Every method raises ModelError, in one sentence, for what is missing or impossible."""

    def __init__(self, state: Mapping[str, Array]):
        self.state = state

    def array(self, name: str, shape: tuple[int | None, ...] | None = None) -> Array:
        """A finite tensor; None in `shape` stands for any size."""
        if name not in self.state:
            raise ModelError(f"tensor {name} is missing from the state")
        array = np.asarray(self.state[name])
        if not np.all(np.isfinite(array)):
            raise ModelError(f"tensor {name} contains NaN or infinity")
        if shape is not None and (
            array.ndim != len(shape)
            or any(want not in {None, have} for want, have in zip(shape, array.shape, strict=True))
        ):
            wanted = ", ".join("any" if want is None else str(want) for want in shape)
            raise ModelError(f"tensor {name} must have shape [{wanted}], not {list(array.shape)}")
        return array

    def integers(self, name: str, dtype: str, shape: tuple[int | None, ...]) -> Array:
        """A tensor of whole numbers that fit `dtype`; official checkpoints store them as floats."""
        array, limits = self.array(name, shape), np.iinfo(dtype)
        if array.dtype.kind == "f" and np.any(array != np.rint(array)):
            raise ModelError(f"tensor {name} must hold whole numbers")
        if array.size and not (limits.min <= array.min() and array.max() <= limits.max):
            raise ModelError(f"tensor {name} must fit {dtype}, but spans {array.min()} to {array.max()}")
        return array.astype(dtype)

    def scale(self, name: str) -> Array:
        """The positive per-tensor scale of an activation quantizer, shape () or (1,), as a 0-d float32 array."""
        array = self.array(f"{name}.act_scaling_factor")
        if array.size != 1:
            raise ModelError(f"tensor {name}.act_scaling_factor must be one number, not {list(array.shape)}")
        if array.item() <= 0:
            raise ModelError(f"tensor {name}.act_scaling_factor must be positive, not {array.item()}")
        return np.asarray(array, f32).reshape(())

    def weight_scale(self, name: str, outputs: int) -> Array:
        array = self.array(name, (outputs,)).astype(f32)
        if np.any(array <= 0):
            raise ModelError(f"tensor {name} must be positive, but channel {int(array.argmin())} is {array.min()}")
        return array

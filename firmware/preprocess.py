"""Images as the network wants them: uint8 pixels -> normalised floats -> int8, in one place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware.errors import UserError
from hw.spec.model import Model

__all__ = ["load_array", "load_images", "normalise", "to_int8"]


def load_array(path: str | Path, what: str) -> NDArray[Any]:
    """The array in a ``.npy`` file; nothing in it is executed. Raises UserError calling it a NumPy array `what`."""
    try:
        array: NDArray[Any] = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise UserError(f"{path} is not a NumPy array {what}: {error}") from None
    return array


def load_images(path: str | Path, limit: int | None = None) -> NDArray[Any]:
    """Images of a ``.npy`` file, [n, C, H, W]: uint8 pixels, or int8 as a model takes them. Raises UserError."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no image file {path}")
    images = load_array(path, "file")
    if images.ndim != 4 or images.dtype not in {np.dtype(np.uint8), np.dtype(np.int8)}:
        raise UserError(f"{path} must hold uint8 or int8 images [n, C, H, W], not {images.dtype} {list(images.shape)}")
    if not len(images):
        raise UserError(f"{path} holds no images")
    return images[:limit]


def normalise(images: NDArray[np.uint8], mean: Sequence[float], std: Sequence[float]) -> NDArray[np.float32]:
    """(pixel/255 - mean)/std in float32, per channel of [n, C, H, W]."""
    shape = (1, -1, 1, 1)
    centre, spread = np.asarray(mean, np.float32).reshape(shape), np.asarray(std, np.float32).reshape(shape)
    return ((images.astype(np.float32) / np.float32(255)) - centre) / spread


def to_int8(images: NDArray[Any], model: Model) -> NDArray[np.int8]:
    """The model's int8 input of uint8 pixels; int8 images pass unchanged.

    clamp(RNE(fl(fl(1/s)*x))) as I-ViT's input quantizer. Raises UserError for another shape or type.
    """
    if images.ndim != 4 or images.shape[1:] != tuple(model.image):
        wanted = ", ".join(map(str, model.image))
        raise UserError(f"model {model.name} wants images [n, {wanted}], not {list(images.shape)}")
    if images.dtype == np.int8:
        return images
    if images.dtype != np.uint8:
        raise UserError(f"images must be uint8 pixels or int8, not {images.dtype}")
    values = normalise(images, model.mean, model.std)
    inverse = np.float32(1) / np.float32(model.input_scale)
    return np.clip(np.rint(inverse * values), -128, 127).astype(np.int8)

"""Images as the network wants them: files or pixels -> uint8 [C, H, W] -> normalised floats -> int8, in one place.

The steps are those of timm's and I-ViT's validation: resize so that the shorter side is the input divided by the
model's crop (bicubic, antialiased), crop the centre, normalise by mean and deviation, quantize.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from firmware.errors import UserError
from hw.spec.model import Model

__all__ = ["FORMATS", "Frame", "fit", "load_array", "normalise", "read_image", "to_int8"]

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Pillow's names of what is read: pixels only, nothing that another program would have to draw, as PostScript."""
_MODES = {1: "L", 3: "RGB"}  # Pillow's mode by number of channels


def load_array(path: str | Path, what: str) -> NDArray[Any]:
    """The array in a ``.npy`` file; nothing in it is executed. Raises UserError calling it a NumPy array `what`."""
    try:
        array: NDArray[Any] = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise UserError(f"{path} is not a NumPy array {what}: {error}") from None
    return array


class Frame(Protocol):
    """What decides the pixels: a model, or an architecture before there is a model."""

    @property
    def image(self) -> tuple[int, int, int]:
        """Channels, height and width of the input."""

    @property
    def crop(self) -> float:
        """Share of the resized image's shorter side that the input shows, above 0, at most 1."""


def read_image(path: str | Path, frame: Frame) -> NDArray[np.uint8]:
    """Pixels [C, H, W] of an image file (JPEG, PNG, ...) as a model takes them. Raises UserError.

    An orientation tag is ignored and transparency dropped, as in training and validation of the field. 16-bit and
    float pixels are scaled to 8 bits, 65535 and 1.0 to 255; floats beyond 0..1 and 32-bit integers have no known range
    and are refused.
    """
    mode = _MODES.get(frame.image[0])
    if mode is None:
        raise UserError(f"{path} has 1 or 3 channels, but the model takes {frame.image[0]}")
    try:
        with Image.open(path, formats=FORMATS) as image:
            return fit(_eight_bits(image).convert(mode), frame)
    except (OSError, EOFError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        raise UserError(f"{path} is not a whole image: {error}") from None


def _eight_bits(image: Image.Image) -> Image.Image:
    """`image` with 8 bits a channel, rounded to nearest, where Pillow's conversion would clip. Raises ValueError."""
    if image.mode == "I" and image.format not in {"PNG", "PPM"}:  # those have samples of at most 65535
        raise ValueError("its pixels are 32-bit integers of no known range; save it with 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):
        pixels = np.asarray(image).astype(np.int64)
        return Image.fromarray(((pixels * 255 + 32767) // 65535).astype(np.uint8))
    if image.mode == "F":
        values = np.asarray(image, np.float64)
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise ValueError(f"float pixels must be from 0 to 1, not {values.min():g} to {values.max():g}")
        return Image.fromarray(np.rint(values * 255).astype(np.uint8))
    return image


def fit(image: Image.Image, frame: Frame) -> NDArray[np.uint8]:
    """`image` resized and cropped to what `frame` wants: uint8 [C, H, W].

    The shorter side becomes int(input/crop) pixels, the longer one as much as keeps the ratio, rounded down; the crop
    starts at half the excess, rounded to even: torchvision's Resize and CenterCrop.
    """
    high, wide = (int(side / frame.crop) for side in frame.image[1:])
    if image.width * high > image.height * wide:  # more oblong than the input: the height decides
        size = (high * image.width // image.height, high)
    else:
        size = (wide, wide * image.height // image.width)
    if size != image.size:
        image = image.resize(size, Image.Resampling.BICUBIC)
    high, wide = frame.image[1:]
    left, top = round((size[0] - wide) / 2), round((size[1] - high) / 2)
    pixels = np.asarray(image.crop((left, top, left + wide, top + high)), np.uint8)
    return np.ascontiguousarray(np.atleast_3d(pixels).transpose(2, 0, 1))


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

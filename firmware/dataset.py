"""Images to run or to calibrate with, and their classes: a .npy file, image files, or a folder as ImageNet's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from firmware.errors import UserError
from firmware.preprocess import FORMATS, Frame, load_array, read_image
from hw.spec.model import Model

__all__ = ["Dataset", "open_dataset"]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """`images` as paths or as an array [n, C, H, W], uint8 pixels or int8 as a model takes them.

    ``labels`` are class numbers int64 [n], None if unknown; ``classes`` the folder's class names, empty if it has none.
    """

    source: str
    images: Sequence[Path] | NDArray[Any]
    labels: NDArray[np.int64] | None = None
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def read(self, frame: Frame, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Images `start` to `stop` as `frame` (a model) takes them, [n, C, H, W]. Raises UserError naming the file."""
        if isinstance(self.images, np.ndarray):
            if self.images.shape[1:] != tuple(frame.image):
                wanted = ", ".join(map(str, frame.image))
                raise UserError(f"{self.source} must hold images [n, {wanted}], not {list(self.images.shape)}")
            return self.images[start:stop]
        return np.stack([read_image(path, frame) for path in self.images[start:stop]])

    def names(self) -> list[str]:
        """Each image's file name, or its number in an array."""
        if isinstance(self.images, np.ndarray):
            return list(map(str, range(len(self.images))))
        return [path.name for path in self.images]

    def targets(self, model: Model) -> NDArray[np.int64] | None:
        """Each image's class number in `model`, None if unknown. Raises UserError for classes the model lacks.

        Folder names that are all among the model's labels say which class they are; else, if all are numbers, the
        numbers do, as they are; else their order does.
        """
        if self.labels is None:
            return None
        if model.features:
            raise UserError(f"model {model.name} gives features of images, not classes: labels cannot be used")
        labels = self.labels
        if self.classes and set(self.classes) <= set(model.labels):
            labels = np.array([model.labels.index(name) for name in self.classes], np.int64)[labels]
        elif self.classes and all(map(_is_number, self.classes)):
            labels = np.array([int(name) for name in self.classes], np.int64)[labels]
        elif self.classes and len(self.classes) != model.classes:
            raise UserError(
                f"{self.source} has {len(self.classes)} class folders, but {model.name} tells {model.classes} classes"
            )
        if labels.min() < 0 or labels.max() >= model.classes:
            raise UserError(
                f"class numbers must be from 0 to {model.classes - 1}, not {labels.min()} to {labels.max()}"
            )
        return labels


def open_dataset(
    source: str | Path | Sequence[str | Path], labels: str | Path | None = None, limit: int | None = None
) -> Dataset:
    """What `source` names: a ``.npy`` file, image files, a folder of images, or a folder with one folder per class.

    Class folders come in the order of their names, of their numbers if they are numbers. `labels` is a ``.npy`` file of
    class numbers, or a text file with one on each line, after the image's file name or in the images' order. `limit`
    takes only the first images (of a folder with classes: one of each class in turn). Raises UserError.
    """
    if limit is not None and limit < 1:
        raise UserError(f"the number of images must be at least 1, not {limit}")
    paths = [Path(source)] if isinstance(source, str | Path) else [Path(path) for path in source]
    first = paths[0]
    if len(paths) > 1:
        found = _files(paths, limit)
    elif first.is_dir():
        found = _folder(first, limit)
    elif first.is_file() and first.suffix == ".npy":
        found = Dataset(source=str(first), images=_array(first)[:limit])
    else:
        found = _files(paths, limit)
    return found if labels is None else replace(found, labels=_labels(Path(labels), found), classes=())


def _files(paths: list[Path], limit: int | None) -> Dataset:
    for path in paths:
        if not path.is_file():
            raise UserError(f"there is no image file{' or folder' if len(paths) == 1 else ''} {path}")
    return Dataset(source=str(paths[0]), images=tuple(paths[:limit]))


def _array(path: Path) -> NDArray[Any]:
    images = load_array(path, "file")
    if images.ndim != 4 or images.dtype not in {np.dtype(np.uint8), np.dtype(np.int8)}:
        raise UserError(f"{path} must hold uint8 or int8 images [n, C, H, W], not {images.dtype} {list(images.shape)}")
    if not len(images):
        raise UserError(f"{path} holds no images")
    return images


def _labels(path: Path, dataset: Dataset) -> NDArray[np.int64]:
    labels = load_array(path, "of labels") if path.suffix == ".npy" else _text_labels(path, dataset)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) < len(dataset):
        raise UserError(
            f"{path} must hold at least {len(dataset)} class numbers, not {labels.dtype} {list(labels.shape)}"
        )
    return labels[: len(dataset)].astype(np.int64)


def _text_labels(path: Path, dataset: Dataset) -> NDArray[np.int64]:
    """Class numbers in lines ``NUMBER`` or, as the lists of ImageNet's validation set are, ``FILE NUMBER``."""
    try:
        lines = [line.split() for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} must be a .npy file or text of class numbers: {error}") from None
    for number, line in enumerate(lines, start=1):
        if len(line) != len(lines[0]) or len(line) > 2 or not _is_number(line[-1]):
            raise UserError(
                f"line {number} of {path} must be a class number, or a file and one, not {' '.join(line)!r}"
            )
    if not lines or len(lines[0]) == 1:
        return np.array([int(line[0]) for line in lines], np.int64)
    if isinstance(dataset.images, np.ndarray):
        raise UserError(f"{path} names image files, but {dataset.source} is an array; give one class number a line")
    known = {Path(name).name: int(number) for name, number in lines}
    for image in dataset.images:
        if image.name not in known:
            raise UserError(f"{path} has no class for {image.name}")
    return np.array([known[image.name] for image in dataset.images], np.int64)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10


def _by_name(path: Path) -> tuple[int, str]:
    """Numbers in their order, before names."""
    return (int(path.name) if _is_number(path.name) else 10**10, path.name)


def _images(folder: Path) -> list[Path]:
    """Image files in `folder`, by name; hidden files and other files are passed over."""
    known = {end for end, kind in Image.registered_extensions().items() if kind in FORMATS}
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in known and p.name[0] != "." and p.is_file())


def _is_litter(folder: Path) -> bool:
    """Hidden, or what macOS puts beside the contents of an archive."""
    return folder.name[0] == "." or folder.name == "__MACOSX"


def _folder(folder: Path, limit: int | None) -> Dataset:
    direct = _images(folder)
    classes = sorted((path for path in folder.iterdir() if path.is_dir() and not _is_litter(path)), key=_by_name)
    by_class = [_images(path) for path in classes]
    if direct and any(by_class):
        raise UserError(f"folder {folder} holds images both directly and in class folders: {direct[0].name} for one")
    if direct:
        return Dataset(source=str(folder), images=tuple(direct[:limit]))
    if not any(by_class):
        raise UserError(f"folder {folder} holds no image files, nor folders with any")
    for path, images in zip(classes, by_class, strict=True):
        if not images:
            raise UserError(f"class folder {path} holds no image files")
    pairs = [(path, label) for label, images in enumerate(by_class) for path in images]
    if limit is not None and limit < len(pairs):
        turns = sorted((turn, label, path) for label, images in enumerate(by_class) for turn, path in enumerate(images))
        pairs = [(path, label) for _, label, path in turns[:limit]]
    return Dataset(
        source=str(folder), images=tuple(path for path, _ in pairs),
        labels=np.array([label for _, label in pairs], np.int64), classes=tuple(path.name for path in classes),
    )  # fmt: skip

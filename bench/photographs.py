"""Photographs that are on this machine already: those bundled with scikit-image and scikit-learn, cut at random."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from bench.packages import folder

__all__ = ["CUTS", "SIDE", "cut", "halves", "photographs"]

CUTS = 2  # of each photograph
SIDE = 256  # pixels of a cut, of which a network of 224 sees the middle
_LEAST = 100  # pixels of a photograph's shorter side
_LEFT_OUT = frozenset({
    "chessboard_GRAY.png", "chessboard_RGB.png", "color.png", "horse.png", "logo.png", "phantom.png",  # are drawn
    "motorcycle_right.png",  # is motorcycle_left.png from a step aside
})  # fmt: skip


def photographs() -> list[Path]:
    """Files, by name. Raises UserError where a package is not installed. Only what the packages carry is there."""
    places = folder("skimage", "scikit-image") / "data", folder("sklearn", "scikit-learn") / "datasets" / "images"
    found = []
    for path in (path for place in places for kind in ("*.png", "*.jpg") for path in place.glob(kind)):
        if path.name not in _LEFT_OUT:
            with Image.open(path) as image:
                found += [path] if min(image.size) >= _LEAST else []
    return sorted(found, key=lambda path: path.name)


def halves(paths: Sequence[Path], seed: int) -> tuple[list[Path], list[Path]]:
    """Photographs to calibrate with, and the others, which are held out, at random."""
    order = np.random.default_rng([seed, 0]).permutation(len(paths))
    middle = len(paths) // 2
    return [paths[i] for i in order[:middle]], [paths[i] for i in order[middle:]]


def cut(paths: Sequence[Path], into: Path, seed: int) -> int:
    """Writes `CUTS` squares of each photograph into the new folder `into`, PNG of `SIDE` pixels; how many in all.

    Their side is half of the photograph's shorter side to the whole of it.
    """
    into.mkdir()
    rng = np.random.default_rng([seed, 1])
    for path in paths:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        for number in range(CUTS):
            side = rng.uniform(0.5, 1) * min(image.size)
            left, top = (rng.uniform(0, length - side) for length in image.size)
            box = (left, top, left + side, top + side)
            part = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box)
            part.save(into / f"{path.stem}-{number}.png")
    return CUTS * len(paths)

"""Recipes at work: tried on some images and judged on others, and given 16-bit inputs for a budget, with progress."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from firmware.architectures import Architecture
from firmware.compiler import compile_model
from firmware.devices import Golden
from firmware.families.bert.texts import repeated
from firmware.planner.program import CompileError
from firmware.preprocess import normalise
from firmware.progress import shown, step
from firmware.quantizer import (
    ALONE_IMAGES,
    Effects,
    LossyNetwork,
    Measurement,
    Recipe,
    Spending,
    Trial,
    Wide,
    afforded,
    candidates,
    nearness,
    rewritten,
    sensitivities,
    spread,
    try_recipes,
)  # fmt: skip
from firmware.text import sums
from hw.boards.board import Board
from hw.spec.model import Model

__all__ = ["Judges", "Make", "Pixels", "Subject", "Texts", "shared", "tried", "widened"]

_COMPARED = 5e10  # multiply-accumulates of a network on all images that recipes are compared on, ...
_FEW_IMAGES = 12  # ... unless these are fewer images
Make = Callable[[Recipe, Measurement], Model]
Array = NDArray[Any]


class Judges(Protocol):
    """Inputs that were held back from calibration."""

    def floats(self, model: Model) -> Array:
        """Normalised, as the quantizer takes them."""

    def outputs(self, model: Model) -> Array:
        """What the golden model makes of them, in real units [n, width]."""


@dataclass(frozen=True)
class Pixels:
    """uint8 images [n, C, H, W]."""

    pixels: NDArray[np.uint8]

    def floats(self, model: Model) -> Array:
        return normalise(self.pixels, model.mean, model.std)

    def outputs(self, model: Model) -> Array:
        with Golden() as device:
            device.load(model)
            real: Array = device.run(self.pixels) * model.logit_scale.astype(np.float64)
        return real


@dataclass(frozen=True)
class Texts:
    """Token numbers of each text, and the float embeddings of `weights`, under official names."""

    ids: Sequence[NDArray[np.int64]]
    weights: Mapping[str, Array]

    def rows(self) -> Array:
        """Embeddings as images, see `repeated`."""
        word, position = (self.weights[f"embed.{name}"] for name in ("word", "position"))
        return repeated([word[ids] + position[: len(ids)] for ids in self.ids])

    def floats(self, model: Model) -> Array:
        del model
        return self.rows()

    def outputs(self, model: Model) -> Array:
        with Golden() as device:
            found = sums(device, model, self.ids)
        scales = np.stack([model.of_tokens(len(ids)).logit_scale for ids in self.ids])
        real: Array = found * scales.astype(np.float64)
        return real


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is to be quantized: inputs of calibration, `called` so by people, and how a model is made of some."""

    every: Any
    called: str
    make: Callable[..., Model]  # of a recipe, a measurement, and inputs `of`
    shared: Callable[[], tuple[Any, Judges | None]]  # inputs that recipes are tried with, and others that judge them
    finish: Callable[[Model], Model]  # what is written of a model
    batch: int = 1  # inputs of the program whose cycles a budget counts
    alone: int = ALONE_IMAGES  # inputs that show what each quantizer costs


def shared(
    pixels: NDArray[np.uint8], weights: Mapping[str, NDArray[Any]], shape: Architecture
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Images that recipes are tried with, and others that judge them: every fourth, of four or more, else None.

    All of `pixels`, or of a network that has more than `_COMPARED` MACs on them some, evenly spread.
    """
    tokens = shape.image[1] * shape.image[2] // shape.patch**2
    macs = tokens * sum(w.size for w in weights.values() if w.ndim == 2)  # at most: of a Swin's first grid
    some = spread(len(pixels), max(_FEW_IMAGES, int(_COMPARED // max(macs, 1))))
    held = some[3::4]
    return (pixels[np.setdiff1d(some, held)], pixels[held]) if len(held) else (pixels, None)


def tried(
    recipes: Mapping[str, Recipe], make: Make, update: Callable[..., None], held: Judges | None = None
) -> list[Trial]:
    """The trials, counted in operators; how many a network has is known after the first. `held` inputs judge them."""
    seen: dict[str, int] = {}

    def told(name: str, node: str) -> None:
        seen[name] = seen.get(name, 0) + 1
        first = next(iter(seen.values()))
        total = first * len(recipes) if len(seen) > 1 else None
        update(sum(seen.values()), total, f"{name} at {node}")

    if held is None:
        return try_recipes(recipes, make, told)
    expected: NDArray[Any] | None = None

    def judge(model: Model, measure: Measurement) -> Mapping[str, float]:
        nonlocal expected
        if expected is None:  # the same of all recipes
            expected = LossyNetwork(measure.record, held.floats(model)).run(Effects())
        return nearness(expected, held.outputs(model), features=model.features)

    return try_recipes(recipes, make, told, judge)


def widened(
    trial: Trial, make: Make, board: Board, budget: float, *, batch: int = 1, alone: int = ALONE_IMAGES
) -> tuple[Trial, Spending]:
    """`trial` with 16-bit inputs for at most `budget` times its cycles on `board`; itself if they are not worth it.

    Cycles are those of a program for `batch` inputs; `alone` of the calibration's show what each quantizer costs.
    """
    found = candidates(trial.model, trial.measure.record.inputs, board.config)
    names = [each.quantizer for each in found]
    with shown("each input alone", "quantizers") as update:
        noise = sensitivities(trial.measure, names, images=alone, progress=update)

    def cycles(wide: Sequence[Wide]) -> int | None:
        try:
            return compile_model(rewritten(trial.model, wide), board, batch=batch).estimated_cycles
        except CompileError:
            if not wide:
                raise
            return None

    with step(f"compiling for {board.name}, to count cycles"):
        spending = afforded(found, noise, cycles, budget)
    if not spending.bought:
        return trial, spending
    recipe = replace(trial.recipe, wide=frozenset(each.linear for each in spending.bought))
    with shown("quantizing with 16-bit inputs", "operators") as update:
        wider = tried({trial.name: recipe}, make, update)[0]
    return (
        (wider, spending) if wider.score > trial.score else (trial, replace(spending, bought=(), after=spending.before))
    )

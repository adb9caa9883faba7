"""Recipes are tried whole and judged by what comes out of the network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from rich.console import Console
from rich.table import Table

from firmware.quantizer.measure import Measurement
from firmware.quantizer.recipes import Recipe
from hw.spec.model import Model

__all__ = ["Trial", "as_json", "show_trials", "try_recipes"]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A network quantized by a recipe, and how near it is to the float network on the calibration images."""

    name: str
    recipe: Recipe
    model: Model
    measure: Measurement

    @property
    def score(self) -> float:
        """SQNR of the outputs in dB."""
        return self.measure.end["logit_sqnr"]


def try_recipes(
    recipes: Mapping[str, Recipe], make: Callable[[Recipe, Measurement], Model],
    told: Callable[[str, str], object] = lambda _recipe, _node: None,
) -> list[Trial]:  # fmt: skip
    """`make` for every one of `recipes`, the nearest to the float network first; `told` of every node.

    An operator that clips outliers which carry the signal, or keeps those that do not, looks well by itself and loses
    the network: only the outputs say which recipe it wants.
    """
    trials = []
    for name, recipe in recipes.items():
        measure = Measurement(partial(told, name))
        trials.append(Trial(name=name, recipe=recipe, model=make(recipe, measure), measure=measure))
    return sorted(trials, key=lambda trial: -trial.score)


def show_trials(trials: list[Trial], console: Console) -> None:
    """A line per recipe, the one that is kept first."""
    images = trials[0].measure.end["images"]
    table = Table(title=f"recipes, by their outputs against the float network on {images} calibration images")
    table.add_column("recipe", no_wrap=True)
    for heading in ("SQNR dB", "cosine", "same class"):
        table.add_column(heading, justify="right")
    table.add_column("what it does")
    for trial in trials:
        end = trial.measure.end
        table.add_row(
            trial.name, f"{end['logit_sqnr']:.1f}", f"{end['logit_cosine']:.4f}",
            f"{end['same_class']:.1%}" if "same_class" in end else "-", trial.recipe.doc,
        )  # fmt: skip
    console.print(table)


def as_json(trials: list[Trial]) -> list[dict[str, Any]]:
    """Name and end of every trial."""
    return [{"recipe": trial.name, **trial.measure.end} for trial in trials]

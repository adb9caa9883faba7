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
from firmware.screen import show
from hw.spec.model import Model

__all__ = ["Trial", "as_json", "show_trials", "try_recipes"]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A network quantized by a recipe, and how near its outputs are to the float network's (`nearness`).

    On images that were held back, if there were any, else on those of the calibration.
    """

    name: str
    recipe: Recipe
    model: Model
    measure: Measurement
    end: Mapping[str, float]

    @property
    def score(self) -> float:
        """SQNR of the outputs in dB."""
        return self.end["logit_sqnr"]


def try_recipes(
    recipes: Mapping[str, Recipe], make: Callable[[Recipe, Measurement], Model],
    told: Callable[[str, str], object] = lambda _recipe, _node: None,
    judge: Callable[[Model, Measurement], Mapping[str, float]] = lambda _model, measure: measure.end,
) -> list[Trial]:  # fmt: skip
    """`make` for every one of `recipes`, the nearest to the float network first, as `judge` says; `told` of every node.

    An operator that clips outliers which carry the signal, or keeps those that do not, looks well by itself and loses
    the network: only the outputs say which recipe it wants.
    """
    trials = []
    for name, recipe in recipes.items():
        measure = Measurement(partial(told, name))
        model = make(recipe, measure)
        trials.append(Trial(name=name, recipe=recipe, model=model, measure=measure, end=judge(model, measure)))
    return sorted(trials, key=lambda trial: -trial.score)


def show_trials(trials: list[Trial], console: Console) -> None:
    """A line per recipe, the one that is kept first."""
    used, judged = (end["images"] for end in (trials[0].measure.end, trials[0].end))
    called = trials[0].measure.called
    where = f"{judged} {called} that were held back" if trials[0].end is not trials[0].measure.end else "the same"
    title = f"recipes, calibrated on {used} {called}, by their outputs against the float network on {where}"
    table = Table(title=title)
    table.add_column("recipe", no_wrap=True)
    for heading in ("SQNR dB", "cosine", "same class"):
        table.add_column(heading, justify="right")
    table.add_column("what it does")
    for trial in trials:
        end = trial.end
        table.add_row(
            trial.name, f"{end['logit_sqnr']:.1f}", f"{end['logit_cosine']:.4f}",
            f"{end['same_class']:.1%}" if "same_class" in end else "-", trial.recipe.doc,
        )  # fmt: skip
    show(table, console)


def as_json(trials: list[Trial]) -> list[dict[str, Any]]:
    """Name of every trial, images it was calibrated on, and its end."""
    return [{"recipe": t.name, "calibrated": t.measure.end["images"], **t.end} for t in trials]

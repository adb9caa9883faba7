"""From a finished graph to a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from firmware.graph.builder import Builder
from hw.spec.model import Model, validate

__all__ = ["assemble"]

Array = NDArray[Any]


def assemble(
    build: Builder, logit_scale: Array, *, name: str, image: tuple[int, int, int], mean: Sequence[float],
    std: Sequence[float], labels: Sequence[str],
) -> Model:  # fmt: skip
    """The validated model of a finished graph."""
    model = Model(
        name=name,
        image=image,
        classes=len(logit_scale),
        nodes=tuple(build.nodes),
        tensors=build.tensors,
        input_scale=float(build.state.scale("qact_input")),
        mean=tuple(mean),
        std=tuple(std),
        logit_scale=logit_scale,
        labels=tuple(labels),
        features=build.features,
    )
    validate(model)
    return model

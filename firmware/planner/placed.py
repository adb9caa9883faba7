"""What is asked of a family's planner, and what it answers: a schedule, constants, and the memory they want."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from firmware.planner.image import ModelImage
from firmware.planner.program import Checkpoint, Layer
from firmware.planner.scheduler import Scheduler
from hw.boards.memory import Memory
from hw.spec.config import Config
from hw.spec.liveness import live, live_macs
from hw.spec.model import Model, values
from hw.spec.operators import Mask

__all__ = ["Job", "Placed"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """A program to be made: `images` images of `model` per run, on `config`, planned for `memory`.

    It computes what reaches the outputs, or, if it is to be `whole`, every tensor.
    """

    model: Model
    config: Config
    memory: Memory
    images: int
    whole: bool = False

    def __post_init__(self) -> None:
        """Raises ModelError for a model that is not valid: planners look up what they need without asking."""
        values(self.model)

    @cached_property
    def _macs(self) -> Mapping[str, int]:
        """Of one image, by node: those that it is to do."""
        return self.model.layer_macs if self.whole else live_macs(self.model)

    def layers(self) -> dict[str, Layer]:
        """The model's nodes by name, anew for every schedule that is tried."""
        return {node.name: Layer(node.name, node.op, self._macs[node.name] * self.images) for node in self.model.nodes}

    @cached_property
    def rows(self) -> Mapping[str, int]:
        """By node, the leading rows of its output beyond which it need not be computed."""
        if self.whole:
            return {name: value.shape[0] for name, value in values(self.model).items()}
        return {name: _leading(mask) for name, mask in live(self.model).items()}


def _leading(mask: Mask) -> int:
    """Rows up to the last one of which anything is in `mask`."""
    return int(np.flatnonzero(mask.any(axis=tuple(range(1, mask.ndim)))).max(initial=-1)) + 1


@dataclass(frozen=True)
class Placed:
    """The best schedule of a model that was found."""

    scheduler: Scheduler
    image: ModelImage
    work_bytes: int
    tiles: tuple[int, ...]
    slots: int
    checkpoints: tuple[Checkpoint, ...]

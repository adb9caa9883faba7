"""What a family of models makes of a model: a schedule, the constants it reads and the memory it wants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from firmware.planner.image import ModelImage
from firmware.planner.program import Checkpoint, Layer
from firmware.planner.scheduler import Scheduler

__all__ = ["Layers", "Placed"]

Layers = Callable[[], dict[str, Layer]]  # the model's nodes, anew for every schedule that is tried


@dataclass(frozen=True)
class Placed:
    """The best schedule of a model that was found."""

    scheduler: Scheduler
    image: ModelImage
    work_bytes: int
    tiles: tuple[int, ...]
    slots: int
    checkpoints: tuple[Checkpoint, ...]

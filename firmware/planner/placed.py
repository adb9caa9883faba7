"""What is asked of a family's planner, and what it answers: a schedule, constants, and the memory they want."""

from __future__ import annotations

from dataclasses import dataclass

from firmware.planner.image import ModelImage
from firmware.planner.program import Checkpoint, Layer
from firmware.planner.scheduler import Scheduler
from hw.boards.memory import Memory
from hw.spec.config import Config
from hw.spec.model import Model, values

__all__ = ["Job", "Placed"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """A program to be made: `images` images of `model` per run, on `config`, planned for `memory`."""

    model: Model
    config: Config
    memory: Memory
    images: int

    def __post_init__(self) -> None:
        """Raises ModelError for a model that is not valid: planners look up what they need without asking."""
        values(self.model)

    def layers(self) -> dict[str, Layer]:
        """The model's nodes by name, anew for every schedule that is tried."""
        macs = self.model.layer_macs
        return {node.name: Layer(node.name, node.op, macs[node.name] * self.images) for node in self.model.nodes}


@dataclass(frozen=True)
class Placed:
    """The best schedule of a model that was found."""

    scheduler: Scheduler
    image: ModelImage
    work_bytes: int
    tiles: tuple[int, ...]
    slots: int
    checkpoints: tuple[Checkpoint, ...]

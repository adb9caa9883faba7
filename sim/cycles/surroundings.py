"""What an engine of the cycle model sees of the machine that it is part of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from hw.spec.config import Config
from hw.spec.isa import Engine
from sim.cycles.memory import Bus

__all__ = ["Surroundings"]


class Surroundings(Protocol):
    """Clock, memory and the other engines."""

    config: Config
    bus: Bus
    now: int
    fetch: Any  # engines that feed or follow one another
    matmul: Any

    def at(self, cycle: int, action: Callable[[int], None]) -> None:
        """Calls `action` with the cycle when it comes."""

    def base(self, region: int) -> int:
        """Byte address of a region."""

    def contended(self, now: int) -> bool:
        """Whether anyone but FETCH uses the memory."""

    def retire(self, engine: Engine, cycle: int) -> None:
        """The oldest instruction of `engine` retires in `cycle`, which may be in the future."""

    def poke(self, engine: Engine) -> None:
        """Plans the issue of the engine's next instruction if it is known when."""

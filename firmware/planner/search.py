"""Which of several ways to plan something is the fastest: by its schedule, and of the best by the cycle model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import TypeVar

from firmware.planner.program import CompileError, UnitError
from firmware.providers import PROVIDERS, provided
from hw.boards.memory import Memory
from hw.spec.config import Config

__all__ = ["code_cycles", "fewest", "ranked"]

_Way = TypeVar("_Way")


def ranked(ways: Iterable[_Way], makespan: Callable[[_Way, float], int | None], near: float = 1.0) -> list[_Way]:
    """The ways with the shortest schedules, shortest first; of equally long ones, which are mostly the same, the first.

    `makespan` gives the cycles of a way, or None if there are more than a limit: `near` times the fewest so far. Those
    within that of the fewest of all are returned. Raises UnitError as soon as `makespan` does, CompileError if all ways
    are refused.
    """
    found: dict[int, _Way] = {}
    least, refused = inf, None
    for way in ways:
        try:
            cycles = makespan(way, near * least)
        except UnitError:
            raise
        except CompileError as error:
            refused = error
            continue
        if cycles is not None:
            found.setdefault(cycles, way)
            least = min(least, cycles)
    if not found:
        assert refused is not None
        raise refused
    return [found[cycles] for cycles in sorted(found) if cycles <= near * least]


def fewest(ways: Sequence[_Way], cycles: Callable[[_Way], float]) -> _Way:
    """The way that takes the fewest, of which one alone is not asked: the first of several."""
    return min(ways, key=cycles) if len(ways) > 1 else ways[0]


def code_cycles(code: bytes, config: Config, memory: Memory) -> int:
    """The cycle model's answer for instructions alone."""
    cycles: int = provided(PROVIDERS["code cycles"], "choosing a schedule")(code, config, memory)
    return cycles

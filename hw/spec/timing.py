"""When the results of a unit come: what units publish and the cycle model reads, without making the unit."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Timing"]


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Cycles of a unit that nothing stalls.

    A unit whose timing is one number publishes it as the class attribute ``latency``; others have a static method
    ``timing(...)`` that takes those of the constructor's parameters on which it depends.
    """

    latency: int  # from the operands of an item (the last ones of a row, where a row is the item) to its result
    interval: int = 1  # least from an item (of a row unit: a row) to the next one
    lead: int = (
        0  # of a row unit: cycles that its first elements wait for what it must know of their row, or for its table
    )

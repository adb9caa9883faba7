"""Pareto front: what no other point beats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

__all__ = ["front"]

_Each = TypeVar("_Each")


def front(points: Sequence[_Each], gain: Callable[[_Each], float], price: Callable[[_Each], float]) -> list[_Each]:
    """Those for which no other has as much gain for less, or more for as little. Cheapest first; equals all stay."""
    found: list[_Each] = []
    best, at = float("-inf"), float("-inf")  # gain of the last one found, and its price
    for point in sorted(points, key=lambda each: (price(each), -gain(each))):
        if gain(point) > best or (gain(point) == best and price(point) == at):
            found.append(point)
            best, at = gain(point), price(point)
    return found

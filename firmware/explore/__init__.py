"""Exploring configurations: what each would cost and do, which fit a part, and which of those no other one beats."""

from firmware.explore.exploration import Exploration, explore
from firmware.explore.front import front
from firmware.explore.point import Point

__all__ = ["Exploration", "Point", "explore", "front"]

"""The VECTOR engine: row units over the scratchpad, one operator of a row at a time."""

from hw.vector.engine import VectorEngine

__all__ = ["VectorEngine"]

"""What nodes, their outputs, attributes and tensors are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["CHANNELS", "ONE", "Attribute", "ModelError", "Node", "Shape", "Tensor", "Value"]


class ModelError(ValueError):
    """An integer model that cannot be right; the message names the node or tensor, what is there and what should be."""


@dataclass(frozen=True)
class Node:
    """One operator application; its output tensor has the node's name (the official I-ViT module's name)."""

    name: str
    op: str
    inputs: tuple[str, ...] = ()
    attributes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Value:
    """What a node computes: shape without the batch, and bits of its elements as two's complement."""

    shape: tuple[int, ...]
    bits: int


@dataclass(frozen=True)
class Attribute:
    """An integer that a node carries: its values, and whether a node may lack it."""

    name: str
    values: Sequence[int]
    doc: str
    optional: bool = False

    @property
    def wanted(self) -> str:
        """The values in words."""
        if isinstance(self.values, range) and len(self.values) > 2:
            return f"from {self.values[0]} to {self.values[-1]}"
        return " or ".join(map(str, self.values))


@dataclass(frozen=True)
class Shape:
    """Shapes of a tensor: in words, and, given the node's output, as numbers; the last is the usual one."""

    doc: str
    of: Callable[[Value], tuple[tuple[int, ...], ...]]

    def __str__(self) -> str:
        return self.doc


CHANNELS = Shape("[channels]", lambda value: (value.shape[-1:],))
ONE = Shape("[1]", lambda _: ((1,),))


@dataclass(frozen=True)
class Tensor:
    """A constant of a node: least and largest element, in any integer type, and its shape.

    A shape that is only words is checked by the operator's `infer`, because the output follows from it.
    """

    name: str
    least: int
    most: int
    shape: Shape | str
    doc: str

"""The MLP of a block, which all families have alike: its nodes by role, and what stands between its linears.

That is ShiftGELU and its requantization, or I-BERT's GELU of 16 bits and its own, or a table with both in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from firmware.planner.image import ModelImage
from firmware.planner.pattern import NORMS, READ, Nodes, role
from hw.spec.model import Node

__all__ = ["Activation", "Members", "activation", "mlp"]

_SHIFT_GELU = (
    role("function", "shift_gelu", "source", i0=READ),
    role("quant", "requantize", "function", bits=READ),
)
_INT_GELU = (
    role("function", "int_gelu", "source", b=READ, c=READ),
    role("quant", "requantize", "function", bits=8),
)
_TABLE = (role("function", "table", "source", bits=READ),)
_ACTIVATIONS = {"table": _TABLE, "int_gelu": _INT_GELU}
_BEFORE = (
    role("norm2", NORMS, "add1", shift=READ),
    role("norm2_quant", "requantize", "norm2", bits=READ),
    role("fc1", "linear", "norm2_quant"),
    role("fc1_quant", "requantize", "fc1", bits="inner"),
)
_BEHIND = (
    role("fc2", "linear", "activated"),
    role("fc2_quant", "requantize", "fc2", bits=16),
    role("add2", "add", "fc2_quant", "add1", bits=16),
)


@dataclass(frozen=True)
class Activation:
    """The nodes: `function` is a table where there is no `quant`."""

    function: Node
    quant: Node | None = None

    @property
    def wide(self) -> bool:
        """Whether it reads int16."""
        return self.function.op == "int_gelu"

    @property
    def output(self) -> Node:
        """The node that the next linear reads."""
        return self.quant or self.function

    def nodes(self) -> tuple[Node, ...]:
        """All of them."""
        return (self.function,) if self.quant is None else (self.function, self.quant)

    def constants(self, image: ModelImage) -> None:
        """What the device reads of it from memory."""
        if self.quant is None:
            image.table(self.function)


def activation(nodes: Nodes, source: Node) -> Activation:
    """The next nodes, which read `source`. Raises CompileError where they are none."""
    return Activation(**nodes.take(_ACTIVATIONS.get(nodes.peek(), _SHIFT_GELU), source=source))


def mlp(nodes: Nodes, found: Mapping[str, Node]) -> dict[str, Any]:
    """The nodes of a block by role: `found`, `add1` the last, and the next ones, with an Activation `act`."""
    inner = 16 if nodes.peek(len(_BEFORE)) == "int_gelu" else 8
    before = nodes.take(_BEFORE, {"inner": inner}, add1=found["add1"])
    act = activation(nodes, before["fc1_quant"])
    return {**found, **before, "act": act, **nodes.take(_BEHIND, add1=found["add1"], activated=act.output)}


class Members:
    """What a dataclass of nodes and activations, in execution order, is made of."""

    def nodes(self) -> tuple[Node, ...]:
        """All of them."""
        members = [getattr(self, field.name) for field in fields(self)]  # type: ignore[arg-type]
        return tuple(node for each in members for node in (each.nodes() if isinstance(each, Activation) else [each]))

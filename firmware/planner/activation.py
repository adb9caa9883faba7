"""What stands between the linears of an MLP: ShiftGELU and its requantization, or a table with both in it."""

from __future__ import annotations

from dataclasses import dataclass

from firmware.planner.image import ModelImage
from firmware.planner.pattern import READ, Nodes, role
from hw.spec.model import Node

__all__ = ["Activation", "activation"]

_SHIFT_GELU = (
    role("function", "shift_gelu", "source", i0=READ),
    role("quant", "requantize", "function", bits=8),
)
_TABLE = (role("function", "table", "source", bits=8),)


@dataclass(frozen=True)
class Activation:
    """The nodes: `function` is a table where there is no `quant`."""

    function: Node
    quant: Node | None = None

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
    """The next nodes, which read `source`. Raises CompileError where they are neither of both."""
    return Activation(**nodes.take(_TABLE if nodes.peek() == "table" else _SHIFT_GELU, source=source))

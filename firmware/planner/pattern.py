"""Recognising a graph: nodes in order, each with the operator, the inputs and the attributes that a plan executes.

A plan is written for roles, not for whatever a graph may hold. So everything that a node says is either expected here,
or marked as read by the plan, or refused; nothing is left out in silence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from firmware.planner.program import CompileError
from hw.spec.model import Model, Node
from hw.spec.operators import OPERATORS

__all__ = ["NORMS", "READ", "SOFTMAXES", "Nodes", "Role", "role"]

READ = "read"  # an attribute of which the plan takes any value
NORMS = ("layer_norm", "int_layer_norm", "l1_layer_norm", "ptf_layer_norm")
SOFTMAXES = ("shiftmax", "int_softmax", "log_int_softmax")
"""Operators that stand for one another."""


@dataclass(frozen=True)
class Role:
    """A node of a pattern: the roles of its inputs, and of each attribute the value, its name in `sizes`, or `READ`.

    An attribute of only one value needs no word. `ops` may take one another's place; what one of them lacks is `READ`.
    """

    name: str
    ops: tuple[str, ...]
    inputs: tuple[str, ...]
    attributes: Mapping[str, int | str]


def role(name: str, op: str | tuple[str, ...], *inputs: str, **attributes: int | str) -> Role:
    """A `Role`."""
    return Role(name, (op,) if isinstance(op, str) else op, inputs, attributes)


class Nodes:
    """The nodes of `model`, taken one after the other, as those of a `family` ("a ViT")."""

    def __init__(self, model: Model, family: str) -> None:
        self._nodes, self._family, self._next = model.nodes, family, 0

    def peek(self, ahead: int = 0) -> str:
        """The operator of the next node, or of one behind it; empty at the end."""
        place = self._next + ahead
        return self._nodes[place].op if place < len(self._nodes) else ""

    def take(self, roles: Iterable[Role], sizes: Mapping[str, int] | None = None, **known: Node) -> dict[str, Node]:
        """The next nodes by role. Raises CompileError, naming the first that is not as `roles` say.

        `sizes` are what attributes must be, `known` nodes of earlier roles, and ``x`` the one that the first reads.
        """
        found: dict[str, Node] = {}
        for wanted in roles:
            if not self.peek():
                raise CompileError(f"the graph ends after {self._next} nodes where {self._family} has {wanted.ops[0]}")
            node = self._nodes[self._next]
            if node.op not in wanted.ops:
                raise CompileError(f"node {node.name} is {node.op} where {self._family} has {wanted.ops[0]}")
            inputs = tuple((found.get(name) or known[name]).name for name in wanted.inputs)
            if node.inputs != inputs:
                raise CompileError(
                    f"{node.op} {node.name} reads {_listed(node.inputs)} where {self._family} has {_listed(inputs)}"
                )
            self._check(node, wanted.attributes, sizes or {})
            found[wanted.name] = node
            self._next += 1
        return found

    def end(self) -> None:
        """Raises CompileError if nodes are left."""
        if self.peek():
            raise CompileError(f"{self._family} ends with its head, but a {self.peek()} follows")

    def _check(self, node: Node, wanted: Mapping[str, int | str], sizes: Mapping[str, int]) -> None:
        fixed = {attribute.name for attribute in OPERATORS[node.op].attributes if len(attribute.values) == 1}
        for name, number in node.attributes.items():
            if name not in wanted and name not in fixed:
                raise CompileError(f"{node.op} {node.name} has {name} {number}, which {self._family} does not have")
        for name, want in wanted.items():
            if want == READ:
                continue
            value = want if isinstance(want, int) else sizes[want]
            if node.attributes.get(name) != value:
                found = node.attributes.get(name, "absent")
                raise CompileError(f"{name} of {node.op} {node.name} must be {value} in {self._family}, not {found}")


def _listed(names: Iterable[str]) -> str:
    return " and ".join(names) or "nothing"

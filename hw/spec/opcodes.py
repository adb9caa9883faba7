"""Opcodes, open: a number, a name and operands, where whoever makes an instruction adds them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["OPCODE_BITS", "OPERANDS", "OPERAND_BITS", "Field", "Op", "add_opcode", "remove_opcode"]

OPCODE_BITS = 5
OPERAND_BITS = 187


@dataclass(frozen=True)
class Field:
    """One operand. A `count` is stored minus one, so that zero cannot be written.

    `limit` names the number of `Config` that bounds it: a count is at most that, anything else below it. What is
    `nonzero` is illegal at 0. In the VECTOR engine an operand is held in the register `slot`, which operands of
    other opcodes share.
    """

    name: str
    bits: int
    doc: str
    count: bool = False
    limit: str = ""
    nonzero: bool = False
    slot: str = ""

    def __post_init__(self) -> None:
        if not self.slot:
            object.__setattr__(self, "slot", self.name)


class _Opcodes(type):
    """``Op.NAME``, ``Op(number)``, ``for op in Op``, as an enumeration has them."""

    def __getattr__(cls, name: str) -> Op:
        try:
            return _BY_NAME[name]
        except KeyError:
            raise AttributeError(f"there is no opcode {name}") from None

    def __iter__(cls) -> Iterator[Op]:
        return iter(sorted(OPERANDS))

    def __len__(cls) -> int:
        return len(OPERANDS)


class Op(int, metaclass=_Opcodes):
    """Opcodes. Every value not listed is illegal; all-zero memory is illegal on purpose. One object per opcode."""

    name: str

    def __new__(cls, number: int) -> Op:
        """The opcode of that number. Raises ValueError if there is none."""
        try:
            return _BY_NUMBER[number]
        except KeyError:
            raise ValueError(f"{number} is no opcode") from None

    @property
    def value(self) -> int:
        return int(self)

    def __repr__(self) -> str:
        return f"<Op.{self.name}: {int(self)}>"


OPERANDS: dict[Op, tuple[Field, ...]] = {}
"""Every opcode's operands, in the order of their bits."""
_BY_NAME: dict[str, Op] = {}
_BY_NUMBER: dict[int, Op] = {}


def add_opcode(name: str, number: int, operands: tuple[Field, ...]) -> Op:
    """A new opcode. Raises ValueError for a name or number that is taken or impossible, or operands that do not fit."""
    if not name.isidentifier() or not name.isupper() or name in _BY_NAME:
        raise ValueError(f"an opcode needs a name of its own in capitals, not {name!r}")
    if not 0 < number < 1 << OPCODE_BITS or number in OPERANDS:
        free = [n for n in range(1, 1 << OPCODE_BITS) if n not in OPERANDS]
        raise ValueError(f"{name} needs a free number, one of {', '.join(map(str, free))}, not {number}")
    names = [field.name for field in operands]
    bits = sum(field.bits for field in operands)
    if len(set(names)) < len(names) or bits > OPERAND_BITS:
        raise ValueError(f"{name} needs distinct operands of {OPERAND_BITS} bits at most, not {bits}: {names}")
    op = int.__new__(Op, number)
    op.name = name
    OPERANDS[op] = operands
    _BY_NAME[name] = _BY_NUMBER[number] = op
    return op


def remove_opcode(op: Op) -> None:
    """Takes an opcode back that `add_opcode` made."""
    del OPERANDS[op], _BY_NAME[op.name], _BY_NUMBER[op]

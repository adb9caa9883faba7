"""The table of VECTOR opcodes: what each reads, computes and writes, said once for gateware, models and compiler.

A row (`VectorOp`) is everything that the command decoder, the readers and the writer of the engine, the machine model,
the cycle model, the compiler and the manual know of an opcode. `hw.spec.vector_ops` has the rows of this machine; an
extension registers its own (docs/extending.md).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from hw.spec.opcodes import OPERANDS, Field, Op, add_opcode, remove_opcode

__all__ = [
    "DEST", "PLANES", "PRODUCT_PLACES", "SHAPE", "SOURCE", "Given", "Outcome", "Second", "VectorOp", "built", "opcodes",
    "register", "registered", "result_bits", "result_bytes", "row_of", "rows", "unit_names",
]  # fmt: skip

Array = NDArray[Any]

PRODUCT_PLACES = ("dsp", "lut")
"""Where the products of units may be made that have places for them: Config.small_products."""

SOURCE = (
    Field("source", 16, "scratchpad word of row 0"),
    Field("source_row", 12, "words from one row to the next"),
)
DEST = (
    Field("dest", 16, "scratchpad word of row 0 of the result"),
    Field("dest_row", 12, "words from one result row to the next"),
)
SHAPE = (
    Field("rows", 8, "rows processed, at most Config.tokens", count=True, limit="tokens"),
    Field("length", 12, "elements in a row, at most Config.max_row", count=True, limit="max_row"),
)

PLANES = (
    Field("planes", 1, "1: 16-bit results in two byte planes, signed high bytes at dest, whatever else says of them"),
    Field("dest_plane", 16, "words from the high byte plane to the unsigned low one, with planes"),
)

_SECOND = {"identity": ("identity", "identity_row"), "parameters": ("params",), "table": ("params",)}
_STATISTICS = ("mean", "factor")


class Second(enum.Enum):
    """What an instruction reads beside its source."""

    NOTHING = "nothing"
    IDENTITY = "identity"  # rows of the same shape: operands identity, identity_row, and wide_identity if any
    PARAMETERS = "parameters"  # the norm table of `memory.norm_params`: operand params
    TABLE = "table"  # the table of `memory.table_entries`, whole before the first element: operand params


@dataclass(frozen=True, kw_only=True)
class Given:
    """What an instruction has read, as int64 arrays; None for what its row of the table does not ask for."""

    x: Array  # [rows, length]
    operands: Mapping[str, int]
    row_max: Array | None = None  # [rows, 1]: of the row-maximum bank, or with own_max of the statistics bank
    mean: Array | None = None  # [rows, 1]
    factor: Array | None = None  # [rows, 1]
    identity: Array | None = None  # [rows, length]
    parameters: tuple[Array, Array, Array] | None = None  # bias, mult, shift of every channel [length]
    entries: Array | None = None  # [256], of the table


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What an instruction writes: its results [rows, length], and statistics of each row [rows]."""

    results: Array | None = None
    mean: Array | None = None
    factor: Array | None = None


@dataclass(frozen=True, kw_only=True)
class VectorOp:
    """A row of the table. An opcode has results if it has the operand ``dest``.

    Of its operands, some names have a meaning for the engine: ``source``, ``source_row``, ``rows``, ``length`` (all
    have them), ``dest``, ``dest_row``, those of `Second`, ``row_max`` with ``own_max`` if any, ``stats``,
    ``wide_source``, ``wide_identity``, ``wide_dest`` (1: int16), those of `PLANES`, ``mult`` and ``shift`` of
    requantized results. Others are the unit's own.
    """

    number: int
    name: str
    unit: str  # of Config.vector: the opcode is illegal where that is not built
    doc: str  # what it computes, a sentence for the manual
    operands: tuple[Field, ...]
    law: Callable[[Given], Outcome] = field(repr=False)  # of every legal instruction, exactly
    second: Second = Second.NOTHING
    grouped: bool = False  # for every word of a row: for every row; otherwise row after row
    reads: tuple[str, ...] = ()  # statistics, of "mean" and "factor", of the bank `stats`
    writes: tuple[str, ...] = ()  # likewise; with results, "mean" is the largest of a row's, which are int8
    requantized: bool = False  # the unit's results are scaled: by the parameters where it reads them, by mult and shift
    adds: bool = False  # no unit: source and identity, both requantized, are added
    padded: bool = False  # the rest of a row's last word is written with zeros, otherwise not at all
    row_cycles: int = 1  # least cycles from row to row, whatever its length: the interval of its unit's Timing
    shared: tuple[str, ...] = ()  # further units of Config.vector that need the opcode
    overhead: int = 32  # cycles beside those of its rows, as the compiler's scheduler counts them

    def __post_init__(self) -> None:
        names = {operand.name for operand in self.operands}
        wanted = {"source", "source_row", "rows", "length", *_SECOND.get(self.second.value, ())}
        wanted |= {"dest_row"} if self.results else set()
        wanted |= {"dest_plane"} if "planes" in names else set()
        wanted |= {"stats"} if self.reads or self.writes else set()
        wanted |= {"mult", "shift"} if self.requantized and self.second is not Second.PARAMETERS else set()
        wanted |= {"mult_identity", "shift_identity"} if self.adds else set()
        if wanted - names:
            raise ValueError(f"{self.name} needs the operands {', '.join(sorted(wanted - names))}")
        if not {*self.reads, *self.writes} <= set(_STATISTICS):
            strange = {*self.reads, *self.writes} - set(_STATISTICS)
            raise ValueError(f"{self.name} reads and writes {' and '.join(_STATISTICS)}, not {', '.join(strange)}")
        if not (self.results or self.writes):
            raise ValueError(f"{self.name} needs results (an operand dest) or statistics that it writes")
        if self.second is Second.PARAMETERS and not (self.grouped and self.requantized and self.results):
            raise ValueError(f"{self.name} reads parameters, so it goes group by group and requantizes its results")
        if self.adds and not (self.requantized and self.second is Second.IDENTITY):
            raise ValueError(f"{self.name} adds, so it takes an identity and requantizes both")
        if self.results and self.writes and not (self.requantized and self.writes == ("mean",)):
            raise ValueError(f"{self.name} keeps the largest of its results as mean, requantized to int8")

    @property
    def op(self) -> Op:
        return Op(self.number)

    @property
    def units(self) -> tuple[str, ...]:
        """Units of Config.vector, one of which has to be there."""
        return (self.unit, *self.shared)

    def is_in(self, units: Collection[str]) -> bool:
        """Whether the opcode is legal where those units are built."""
        return not {*self.units}.isdisjoint(units)

    @property
    def results(self) -> bool:
        return any(operand.name == "dest" for operand in self.operands)

    def operand(self, name: str) -> Field | None:
        """The operand of that name, if it has it."""
        return next((operand for operand in self.operands if operand.name == name), None)


def result_bits(operands: Mapping[str, int]) -> int:
    """Bits of a result."""
    return 8 << (operands.get("wide_dest", 0) | operands.get("planes", 0))


def result_bytes(operands: Mapping[str, int]) -> int:
    """Bytes from one result to the next, in each of two planes if there are."""
    return 1 if operands.get("planes", 0) else 1 + operands.get("wide_dest", 0)


_ROWS: dict[Op, VectorOp] = {}


def register(row: VectorOp) -> VectorOp:
    """Adds a row to the table and its opcode to `Op`. Raises ValueError if its number or name is taken."""
    _ROWS[add_opcode(row.name, row.number, row.operands)] = row
    return row


@contextmanager
def registered(*new: VectorOp) -> Generator[None, None, None]:
    """`register`, for as long as the context lasts."""
    done: list[VectorOp] = []
    try:
        for row in new:
            done.append(register(row))
        yield
    finally:
        for row in done:
            del _ROWS[row.op]
            remove_opcode(row.op)


def rows() -> tuple[VectorOp, ...]:
    """The table, in the order of the opcodes' numbers."""
    return tuple(_ROWS[op] for op in sorted(_ROWS))


def row_of(op: Op) -> VectorOp | None:
    """The row of a VECTOR opcode; None for others."""
    return _ROWS.get(op)


def unit_names() -> tuple[str, ...]:
    """Every unit that a Config may list, in the order of their first opcodes."""
    return tuple(dict.fromkeys(unit for row in rows() for unit in row.units))


def built(units: Collection[str]) -> tuple[VectorOp, ...]:
    """The rows of those units."""
    return tuple(row for row in rows() if row.is_in(units))


def opcodes(units: Collection[str]) -> tuple[Op, ...]:
    """The opcodes that are legal where those units are built."""
    return tuple(op for op in sorted(OPERANDS) if op not in _ROWS or _ROWS[op].is_in(units))

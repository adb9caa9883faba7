"""The instruction set: opcodes, operands and bit positions, each written once.

An instruction is 256 bits, little-endian in memory: opcode, four dependency thresholds, operands.
It may start when, for each of LOAD, MATMUL, VECTOR and STORE, at least the given number of that
engine's instructions have retired since the program (or the last SYNC) began. Engines start and
retire their own instructions in program order, but a later instruction of an engine may start
before an earlier one has retired, so a dependency inside one engine is a threshold too.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import unsigned
from amaranth.lib import data

from hw.spec import vector, vector_ops
from hw.spec.opcodes import OPCODE_BITS, OPERAND_BITS, OPERANDS, Field, Op, add_opcode

__all__ = [
    "INSTRUCTION_BITS", "INSTRUCTION_BYTES", "OPCODE_BITS", "OPERANDS", "OPERAND_BITS", "TOGETHER", "WAITED",
    "WAIT_BITS", "Engine", "Fault", "Field", "Instruction", "Kind", "Op", "Region", "decode", "decode_program",
    "describe", "encode", "engine_of", "layout", "word_layout",
]  # fmt: skip

INSTRUCTION_BITS = 256
INSTRUCTION_BYTES = INSTRUCTION_BITS // 8
WAIT_BITS = 16
TOGETHER = 4  # tokens whose transposed results, bytes that lie next to one another, are written together


class Engine(enum.IntEnum):
    """Who executes; also the order of every per-engine register and signal."""

    FETCH = 0  # memory -> weight stream
    LOAD = 1  # memory -> scratchpad
    MATMUL = 2  # weight stream x scratchpad -> array -> requantizer -> scratchpad
    VECTOR = 3  # scratchpad -> Shiftmax, ShiftGELU, I-LayerNorm, add -> scratchpad
    STORE = 4  # scratchpad -> memory


WAITED = (Engine.LOAD, Engine.MATMUL, Engine.VECTOR, Engine.STORE)  # FETCH is ordered by the stream itself


class Region(enum.IntEnum):
    """Base address and size registers that memory offsets are relative to and checked against."""

    MODEL = 0  # weights and constants, read only
    WORK = 1  # intermediate tensors
    INPUT = 2  # images
    OUTPUT = 3  # logits


class Kind(enum.IntEnum):
    """Element type of a MATMUL result."""

    INT8 = 0
    INT16 = 1
    INT32 = 2  # accumulator plus bias, no requantization
    PLANES = 3  # int16 in two byte planes: signed high bytes, unsigned low ones

    @property
    def bits(self) -> int:
        """Bits of a result."""
        return (8, 16, 32, 16)[self]

    @property
    def step(self) -> int:
        """Bytes from one result to the next without ``transpose``, of which `dest` and `dest_row` are multiples."""
        return (1, 2, 4, 1)[self]


class Fault(enum.IntEnum):
    """Why the machine stopped."""

    NONE = 0
    ILLEGAL_OPCODE = 1
    ILLEGAL_OPERAND = 2  # an operand beyond what this Config has, e.g. rows > Config.tokens
    SCRATCH_ADDRESS = 3  # scratchpad access outside banks x bank_words
    REGION_ADDRESS = 4  # memory access outside its region
    BUS_READ = 5  # AXI read answered SLVERR or DECERR
    BUS_WRITE = 6  # AXI write answered SLVERR or DECERR
    PROGRAM_END = 7  # the program ended without HALT
    DEADLOCK = 8  # nothing can go on: a threshold or a stream word that never comes


_TRANSFER = (
    Field("region", 2, "memory region"),
    Field("offset", 28, "first memory word, relative to the region"),
    Field("scratch", 16, "first scratchpad word"),
    Field("run", 12, "words of a run, consecutive in memory", count=True),
    Field("scratch0", 12, "scratchpad words from one word of a run to the next"),
    Field("count1", 12, "runs", count=True),
    Field("offset1", 20, "memory words from one run to the next"),
    Field("scratch1", 16, "scratchpad words from one run to the next"),
    Field("count2", 12, "groups of runs", count=True),
    Field("offset2", 20, "memory words from one group to the next"),
    Field("scratch2", 16, "scratchpad words from one group to the next"),
    Field("slice", 3, "the slice whose scratchpad it is", limit="slices"),
)
_LOAD = (*_TRANSFER, Field("every", 1, "write the scratchpads of all slices"))
_STORE = (
    *_TRANSFER,
    Field("skip", 5, "bytes that begin each word of a group's first run and are not written", limit="part_bytes"),
    Field("drop", 5, "bytes that end each word of a group's last run and are not written", limit="part_bytes"),
)
_FETCH = (
    Field("region", 2, "memory region"),
    Field("offset", 28, "first memory word, relative to the region"),
    Field("words", 24, "consecutive words appended to the weight stream", count=True),
)
_MATMUL = (
    Field("source", 16, "scratchpad word of token 0, pass 0"),
    Field("source_row", 12, "words from one token to the next"),
    Field("source_plane", 16, "words from the high byte plane to the low one, with two_planes"),
    Field("rows", 8, "tokens, at most Config.tokens", count=True, limit="tokens"),
    Field("passes", 9, "words of a token: reduction depth / Config.rows", count=True),
    Field("outputs", 13, "output channels written; the last tile may be partial", count=True),
    Field("two_planes", 1, "activations are 16 bit: signed high plane x 256 + unsigned low plane"),
    Field("dest", 21, "scratchpad byte of token 0, output 0"),
    Field("dest_row", 16, "bytes from one token to the next; 1 with transpose"),
    Field(
        "dest_col",
        16,
        f"bytes from one output to the next, a multiple of {TOGETHER}, with transpose (int8 only); from the high plane "
        "to the low",
    ),
    Field("kind", 2, "element type of the result: 0 int8, 1 int16, 2 int32 raw, 3 int16 in two byte planes"),
    Field(
        "transpose",
        1,
        "write each output to dest + token*dest_row + output*dest_col; slice k moves the byte of dest in "
        "its word on by k*rows, modulo the word",
    ),
    Field("per_channel", 1, "bias, mult and shift of each output come first in the weight stream"),
    Field("mult", 32, "mantissa m, 0..2^31"),
    Field("shift", 6, "exponent e of m/2^e"),
    Field("track_max", 1, "keep the maximum of each token's results in row_max"),
    Field("row_max", 4, "row-maximum bank", limit="row_max_banks"),
)

for _name, _number, _operands in (
    ("HALT", 1, ()),
    ("SYNC", 2, ()),
    ("FETCH", 4, _FETCH),
    ("LOAD", 5, _LOAD),
    ("STORE", 6, _STORE),
    ("MATMUL", 8, _MATMUL),
):
    add_opcode(_name, _number, _operands)

_ENGINES = {Op.FETCH: Engine.FETCH, Op.LOAD: Engine.LOAD, Op.STORE: Engine.STORE, Op.MATMUL: Engine.MATMUL}


def engine_of(op: Op) -> Engine | None:
    """The engine that executes `op`; None for HALT and SYNC, which the sequencer executes itself."""
    if op in (Op.HALT, Op.SYNC):
        return None
    return _ENGINES.get(op, Engine.VECTOR)


def layout(op: Op) -> data.StructLayout:
    """Hardware's view of the operand bits of `op`. A count field holds the count minus one."""
    fields: dict[str, Any] = {field.name: unsigned(field.bits) for field in OPERANDS[op]}
    return data.StructLayout(fields)


def word_layout() -> data.StructLayout:
    """Hardware's view of a whole instruction."""
    return data.StructLayout({
        "op": unsigned(OPCODE_BITS),
        **{f"wait_{engine.name.lower()}": unsigned(WAIT_BITS) for engine in WAITED},
        "operands": unsigned(OPERAND_BITS),
    })


@dataclass(frozen=True)
class Instruction:
    """A decoded instruction: natural counts, waits by engine (absent = none)."""

    op: Op
    operands: Mapping[str, int]
    waits: Mapping[Engine, int]


def encode(op: Op, waits: Mapping[Engine, int] | None = None, **operands: int) -> bytes:
    """32 bytes. Raises ValueError for an unknown, missing or oversized operand or threshold."""
    fields = OPERANDS[op]
    unknown = set(operands) - {field.name for field in fields}
    if unknown:
        raise ValueError(f"{op.name} has no operand {', '.join(sorted(unknown))}")
    word, position = int(op), OPCODE_BITS
    for engine in WAITED:
        word |= _fit(f"{op.name} wait on {engine.name}", (waits or {}).get(engine, 0), WAIT_BITS) << position
        position += WAIT_BITS
    for field in fields:
        value = operands.get(field.name, 1 if field.count else 0)
        word |= _fit(f"{op.name} {field.name}", value, field.bits, offset=int(field.count)) << position
        position += field.bits
    return word.to_bytes(INSTRUCTION_BYTES, "little")


def _fit(what: str, value: int, bits: int, offset: int = 0) -> int:
    if not offset <= value < (1 << bits) + offset:
        raise ValueError(f"{what} must be from {offset} to {(1 << bits) - 1 + offset}, not {value}")
    return int(value) - offset


def decode(code: bytes) -> Instruction:
    """The instruction in 32 bytes. Raises ValueError for an opcode that no machine has."""
    word = int.from_bytes(code, "little")
    number = word & ((1 << OPCODE_BITS) - 1)
    try:
        op = Op(number)
    except ValueError:
        raise ValueError(f"illegal opcode {number}") from None
    position, waits, operands = OPCODE_BITS, {}, {}
    for engine in WAITED:
        waits[engine] = word >> position & ((1 << WAIT_BITS) - 1)
        position += WAIT_BITS
    for field in OPERANDS[op]:
        operands[field.name] = (word >> position & ((1 << field.bits) - 1)) + field.count
        position += field.bits
    return Instruction(op, operands, {engine: count for engine, count in waits.items() if count})


def decode_program(code: bytes) -> list[Instruction]:
    """The instructions of a program. Raises ValueError for an opcode that no machine has."""
    return [decode(code[at : at + INSTRUCTION_BYTES]) for at in range(0, len(code), INSTRUCTION_BYTES)]


def describe(units: Collection[str] = vector_ops.UNITS) -> list[Any]:
    """Everything a fingerprint must change with, where those VECTOR units are built."""
    ops = vector.opcodes(units)
    return [
        INSTRUCTION_BITS, OPCODE_BITS, WAIT_BITS,
        [[op.name, int(op), [[f.name, f.bits, f.count] for f in OPERANDS[op]]] for op in ops],
        [[e.name, int(e)] for kind in (Engine, Region, Kind, Fault) for e in kind],
    ]  # fmt: skip

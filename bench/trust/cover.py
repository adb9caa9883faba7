"""Cover points of instructions: which values of which operands programs had, and which they should have had."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from hw.spec.config import Config
from hw.spec.isa import (
    OPERANDS,
    WAITED,
    Engine,
    Field,
    Instruction,
    Kind,
    Op,
    Region,
    decode_program,
    engine_of,
)

__all__ = ["FAULTS", "instruction_points", "points_of"]

_SEQUENCER = "sequencer"
_CHOOSY = [  # engines with an operand that may be illegal
    engine.name
    for engine in Engine
    if any(field.limit or field.nonzero for op in Op if engine_of(op) is engine for field in OPERANDS[op])
]
FAULTS = (
    ("ILLEGAL_OPCODE", _SEQUENCER), *(("ILLEGAL_OPERAND", name) for name in _CHOOSY),
    *(("SCRATCH_ADDRESS", name) for name in ("LOAD", "MATMUL", "VECTOR", "STORE")),
    *(("REGION_ADDRESS", name) for name in ("LOAD", "FETCH", "STORE")),
    *(("BUS_READ", name) for name in ("LOAD", "FETCH", _SEQUENCER)), ("BUS_WRITE", "STORE"),
    ("PROGRAM_END", _SEQUENCER), ("DEADLOCK", _SEQUENCER),
)  # fmt: skip
"""(fault, who raises it): every pair there can be."""

_CHOICES: Mapping[str, tuple[int, ...]] = {"kind": tuple(Kind), "region": tuple(Region)}


def _values(field: Field) -> tuple[str, ...]:
    """What an operand's points are called."""
    if field.name in _CHOICES:
        return tuple(f"{field.name}={value}" for value in _CHOICES[field.name])
    if field.bits == 1:
        return f"{field.name}=0", f"{field.name}=1"
    return (f"{field.name}=1", f"{field.name}>1") if field.count else (f"{field.name}=0", f"{field.name}>0")


def instruction_points() -> Iterator[tuple[Op, str]]:
    """Every point: of every operand both values of a bit, the choices of a choice, the least value and another one; a
    threshold for every engine and none; in place, for those with source and dest."""
    for op in Op:
        if engine_of(op) is None:
            yield op, "there"
            continue
        for field in OPERANDS[op]:
            for value in _values(field):
                if not (field.nonzero and value.endswith("=0")):
                    yield op, value
        yield from ((op, f"waits for {engine.name}") for engine in WAITED)
        yield op, "waits for nothing"


def _named(instruction: Instruction) -> Iterator[str]:
    if engine_of(instruction.op) is None:
        yield "there"
        return
    for field in OPERANDS[instruction.op]:
        value = instruction.operands[field.name]
        if field.name in _CHOICES or field.bits == 1:
            yield f"{field.name}={int(value)}"
        else:
            least = int(field.count)
            yield f"{field.name}={least}" if value == least else f"{field.name}>{least}"
    waits = [engine for engine, count in instruction.waits.items() if count]
    yield from (f"waits for {engine.name}" for engine in waits)
    if not waits:
        yield "waits for nothing"


def points_of(program: bytes, config: Config) -> Counter[str]:
    """The points that a program's instructions are, and how many instructions there are of each opcode."""
    found: Counter[str] = Counter()
    for instruction in decode_program(program):
        found[f"cover count: {instruction.op.name}"] += 1
        found.update(f"cover op: {instruction.op.name} {point}" for point in _named(instruction))
    found[f"cover config: {config.slices} slices, {len(config.vector)} units"] += 1
    return found

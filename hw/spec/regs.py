"""The register map: a register is a row, its address is four times its position. Append, never insert."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from hw.spec.isa import Engine, Region

__all__ = ["MAGIC", "REGS", "Access", "Control", "Reg", "State", "address", "describe"]

MAGIC = 0x53484654  # "SHFT"


class Access(enum.Enum):
    RO = "read only"
    RW = "read/write"
    STROBE = "write one to trigger, reads zero"


class State(enum.IntEnum):
    """Field `state` of the status register."""

    IDLE = 0
    RUNNING = 1
    DONE = 2
    FAULT = 3


class Control(enum.IntFlag):
    """Bits of the control register."""

    START = 1  # run the program `runs` times
    RESET = 2  # abort: finish outstanding bus transfers, clear engines, counters and status


@dataclass(frozen=True)
class Reg:
    name: str
    access: Access
    bits: int
    doc: str


REGS: tuple[Reg, ...] = (
    Reg("magic", Access.RO, 32, "Constant MAGIC. Read it before anything else."),
    Reg("fingerprint", Access.RO, 32, "Hash of Config, ISA and this map; a program for another one is refused."),
    Reg("control", Access.STROBE, 2, "Control bits: START, RESET."),
    Reg("status", Access.RO, 2, "State: IDLE, RUNNING, DONE or FAULT."),
    Reg("fault_code", Access.RO, 4, "Fault that stopped the machine."),
    Reg("fault_engine", Access.RO, 3, "Engine that raised it; 7 for the sequencer."),
    Reg("fault_index", Access.RO, 32, "Index in the program of the faulting instruction."),
    Reg("interrupt_enable", Access.RW, 1, "1: the interrupt line is high while status is DONE or FAULT."),
    Reg("program_base", Access.RW, 32, "Byte address of the program, aligned to an instruction."),
    Reg("program_length", Access.RW, 24, "Instructions in the program."),
    Reg("runs", Access.RW, 16, "Times START runs the program, at least 1."),
    Reg("input_step", Access.RW, 32, "Bytes the INPUT base moves from one run to the next."),
    Reg("output_step", Access.RW, 32, "Bytes the OUTPUT base moves from one run to the next."),
    *(
        Reg(f"{region.name.lower()}_{part}", Access.RW, 32, f"{what} of region {region.name}.")
        for region in Region
        for part, what in (("base", "Byte address, word aligned,"), ("size", "Size in bytes, a multiple of a word,"))
    ),
    Reg("cycles", Access.RO, 32, "Cycles since START, until DONE or FAULT."),
    Reg("cycles_high", Access.RO, 32, "Upper half of cycles."),
    Reg("beats", Access.RO, 32, "Token words that entered the array; each is rows x cols MACs, padding included."),
    Reg("beats_high", Access.RO, 32, "Upper half of beats."),
    Reg("instructions", Access.RO, 32, "Instructions retired by all engines."),
    *(
        Reg(f"{engine.name.lower()}_{part}", Access.RO, 32, f"Cycles {engine.name} {what}, since START.")
        for engine in Engine
        for part, what in (
            ("busy", "moved data"),
            ("wait_in", "was waiting for a dependency or for input"),
            ("wait_out", "was waiting for room for its output"),
        )
    ),
)

_INDEX = {reg.name: index for index, reg in enumerate(REGS)}


def address(name: str) -> int:
    """Byte address of a register."""
    return 4 * _INDEX[name]


def describe() -> list[Any]:
    """Everything a fingerprint must change with."""
    return [[reg.name, reg.access.name, reg.bits] for reg in REGS]

"""Starts a board's memory from the host: LiteDRAM's initialisation sequence, then levelling of writes and reads.

A build leaves ``csr.json`` (register addresses) and ``dram.json`` (the PHY's numbers and the sequence) in its
directory. The steps are those of LiteX's sdram.c, so neither a processor on the board nor a vendor tool is needed; what
differs is in docs/link.md.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from firmware.errors import UserError
from firmware.transport import DeviceError
from firmware.write_levelling import Report, Written, align_data, align_strobes, longest_run
from hw.spec.link import Window

__all__ = ["Controller", "Eye", "Levels", "Link", "load_controller", "start"]

_SEL = 1  # bit of dfii_control that gives the memory to the controller
_CS, _WE, _CAS, _RAS, _WRITE, _READ = 1, 2, 4, 8, 16, 32  # bits of a phase's command
_SETTLE = 1e-3  # seconds after a change of dfii_control or a reset
_SEEDS = (42, 84, 36)  # of the patterns
_TESTED = 8192  # bytes of memory tried at the end, through the controller


class Link(Protocol):
    """What the training needs of `firmware.link.client.Link`."""

    def transact(self, writes: Iterable[tuple[int, int]], reads: Iterable[int]) -> list[int]: ...

    def read_memory(self, address: int, size: int) -> bytes: ...

    def write_memory(self, address: int, data: bytes) -> None: ...


@dataclass(frozen=True)
class Eye:
    """Where a module (8 data pins) reads without errors: taps `first` to `last` after `bitslip`; `delay` is used."""

    module: int
    bitslip: int
    first: int
    last: int

    @property
    def delay(self) -> int:
        return (self.first + self.last) // 2


class Levels(NamedTuple):
    """What was found, one a module; writes only where the PHY aligns them."""

    eyes: list[Eye]
    writes: list[Written]


@dataclass(frozen=True)
class Controller:
    """A LiteDRAM controller: addresses of each register's words, most significant first; `phy`, `init`: dram.json."""

    registers: Mapping[str, Sequence[int]]
    phy: Mapping[str, Any]
    init: Sequence[Mapping[str, Any]]
    clock_hz: float

    @property
    def modules(self) -> int:
        return int(self.phy["databits"]) // 8

    @property
    def phase_bits(self) -> int:
        return int(self.phy["databits"]) * (1 if self.phy["memtype"] == "SDR" else 2)

    def set(self, name: str, value: int) -> list[tuple[int, int]]:
        """The writes that set register `name`."""
        words = self.registers[name]
        return [(at, value >> 32 * (len(words) - 1 - n) & 0xFFFFFFFF) for n, at in enumerate(words)]

    def aim(self, phase: int, address: int, bank: int) -> list[tuple[int, int]]:
        """The writes that set where the next commands on `phase` go."""
        return self.set(f"sdram_dfii_pi{phase}_address", address) + self.set(f"sdram_dfii_pi{phase}_baddress", bank)

    def command(self, phase: int, command: int) -> list[tuple[int, int]]:
        """The writes that issue a DRAM command on `phase`."""
        return self.set(f"sdram_dfii_pi{phase}_command", command) + self.set(f"sdram_dfii_pi{phase}_command_issue", 1)


def load_controller(build: str | Path) -> Controller:
    """The controller of the board built into directory `build`. Raises UserError if its two files are not there."""
    found: list[dict[str, Any]] = []
    for name in ("csr.json", "dram.json"):
        try:
            found.append(json.loads((Path(build) / name).read_text()))
        except (OSError, ValueError):
            raise UserError(f"{build} has no readable {name}: give the directory of a board's build") from None
    csr, dram = found
    try:
        registers = {
            name: tuple(Window.SHELL + entry["addr"] + 4 * n for n in range(entry["size"]))
            for name, entry in csr["csr_registers"].items()
        }
        return Controller(registers, dram["phy"], dram["init"], float(csr["constants"]["config_clock_frequency"]))
    except (KeyError, TypeError) as error:
        raise UserError(f"csr.json and dram.json of {build} do not describe a memory controller: {error}") from None


def start(
    link: Link,
    controller: Controller,
    *,
    sleep: Callable[[float], None] = time.sleep,
    report: Report | None = None,
) -> Levels:
    """Initialises and levels the memory, tries it, and opens it to the accelerator.

    `report` is called with the delays tried so far and in all of a step. Raises DeviceError, and tells the board so
    (its error light), if a module cannot be written or reads nothing, or the memory does not hold what was written.
    """
    phy = controller.phy
    steps = [bool(phy.get(name)) for name in ("write_leveling", "write_latency_calibration", "write_dq_dqs_training")]
    if any(steps) and not all(steps):
        raise DeviceError("the PHY of this board aligns a part of its writes only, for which there is no training here")
    training = _Training(link, controller, sleep)
    training.initialise()
    try:
        writes = align_strobes(training, report) if all(steps) else []
        eyes = training.level(report) if phy["read_leveling"] else []
        writes = align_data(training, writes) if writes else []
        training.hand_over()
        _try(link)
    except DeviceError:
        training.conclude(error=True)
        raise
    training.conclude(error=False)
    return Levels(eyes, writes)


def _try(link: Link) -> None:
    data = random.Random(0).randbytes(_TESTED)
    link.write_memory(0, data)
    found = link.read_memory(0, _TESTED)
    wrong = sum(a != b for a, b in zip(data, found, strict=True))
    if wrong:
        raise DeviceError(f"the memory does not hold what was written: {wrong} of {_TESTED} bytes are wrong")


class _Training:
    def __init__(self, link: Link, controller: Controller, sleep: Callable[[float], None]) -> None:
        self.link, self.controller, self.sleep = link, controller, sleep
        self.all = (1 << controller.modules) - 1

    def write(self, *writes: list[tuple[int, int]]) -> None:
        self.link.transact([pair for group in writes for pair in group], [])

    def initialise(self) -> None:
        c = self.controller
        self.write(c.set("ddrctrl_init_done", 0), c.set("ddrctrl_init_error", 0))
        for name in ("rdphase", "wrphase"):
            if f"ddrphy_{name}" in c.registers:
                self.write(c.set(f"ddrphy_{name}", c.phy[name]))
        self.write(c.set("sdram_dfii_control", 0))  # in reset, clock disabled: the PHY's reset stops the memory's clock
        self.sleep(_SETTLE)
        if "ddrphy_rst" in c.registers:
            for value in (1, 0):
                self.write(c.set("ddrphy_rst", value))
                self.sleep(_SETTLE)
        for step in c.init:
            if step["register"] == "control":
                self.write(c.aim(0, step["address"], step["bank"]), c.set("sdram_dfii_control", step["value"]))
                self.sleep(max(_SETTLE, step["cycles"] / c.clock_hz))
            else:
                self.write(c.aim(0, step["address"], step["bank"]), c.command(0, step["value"]))
                self.sleep(step["cycles"] / c.clock_hz)
        for phase in sorted({0, int(c.phy["rdphase"]), int(c.phy["wrphase"])}):
            self.write(c.aim(phase, 0, 0))  # all that follows

    def windows(self, delays: Sequence[int], report: Report | None) -> list[list[list[bool]]]:
        """Per module and bitslip: does it read right after each of `delays`, which ascend? All modules at once."""
        bitslips = int(self.controller.phy["bitslips"])
        good: list[list[list[bool]]] = [[[] for _ in range(bitslips)] for _ in range(self.controller.modules)]
        self.adjust(self.all, "rdly_dq_bitslip_rst")
        for bitslip in range(bitslips):
            self.adjust(self.all, "rdly_dq_rst")
            for number, delay in enumerate(delays):
                self.adjust(self.all, *["rdly_dq_inc"] * (delay - (delays[number - 1] if number else 0)))
                for module, errors in enumerate(self.errors()):
                    good[module][bitslip].append(not errors)
                if report is not None:
                    report(bitslip * len(delays) + number + 1, bitslips * len(delays))
            self.adjust(self.all, "rdly_dq_bitslip")
        return good

    def level(self, report: Report | None) -> list[Eye]:
        """Every bitslip, every delay; then each module's widest window."""
        good = self.windows(range(int(self.controller.phy["delays"])), report)
        eyes = [_widest(module, rows) for module, rows in enumerate(good)]
        for eye in eyes:
            self.choose(eye)
        if any(self.errors()):
            raise DeviceError("the memory reads errors in the middle of the windows found")
        return eyes

    def choose(self, eye: Eye) -> None:
        self.adjust(1 << eye.module, "rdly_dq_bitslip_rst", *["rdly_dq_bitslip"] * eye.bitslip)
        self.adjust(1 << eye.module, "rdly_dq_rst", *["rdly_dq_inc"] * eye.delay)

    def hand_over(self) -> None:
        self.write(self.controller.set("sdram_dfii_control", _SEL))
        self.sleep(_SETTLE)

    def conclude(self, *, error: bool) -> None:
        c = self.controller
        self.write(c.set("ddrctrl_init_error", int(error)), c.set("ddrctrl_init_done", int(not error)))

    def adjust(self, modules: int, *registers: str) -> None:
        c = self.controller
        if not registers:
            return
        strobes = [c.set(f"ddrphy_{name}", 1) for name in registers]
        self.write(c.set("ddrphy_dly_sel", modules), *strobes, c.set("ddrphy_dly_sel", 0))

    def errors(self) -> list[int]:
        """Wrong bits of each module: patterns written to the first row of the first bank and read back.

        No more patterns once every module has read one wrong. Two commands are two requests apart, 32 bytes and so at
        least 32 cycles: longer than the chip needs between any two of these.
        """
        c, errors = self.controller, [0] * self.controller.modules
        reading, writing, phases = int(c.phy["rdphase"]), int(c.phy["wrphase"]), range(int(c.phy["nphases"]))
        width = int(c.phy["databits"])
        addresses = [at for phase in phases for at in c.registers[f"sdram_dfii_pi{phase}_rddata"]]
        for seed in _SEEDS:
            draw = random.Random(seed)
            words = [draw.getrandbits(c.phase_bits) for _ in phases]
            writes = [pair for n, word in enumerate(words) for pair in c.set(f"sdram_dfii_pi{n}_wrdata", word)]
            writes += c.command(0, _RAS | _CS)  # activate
            writes += c.command(writing, _CAS | _WE | _CS | _WRITE)
            writes += c.command(reading, _CAS | _CS | _READ)
            writes += c.command(0, _RAS | _WE | _CS)  # precharge
            found = iter(self.link.transact(writes, addresses))
            for phase, word in zip(phases, words, strict=True):
                got = 0
                for _ in c.registers[f"sdram_dfii_pi{phase}_rddata"]:
                    got = got << 32 | next(found)
                for module in range(c.modules):
                    lanes = 0xFF << 8 * module
                    for edge in range(0, c.phase_bits, width):
                        errors[module] += ((got ^ word) & lanes << edge).bit_count()
            if all(errors):
                break
        return errors


def _widest(module: int, rows: list[list[bool]]) -> Eye:
    """The longest run of good delays at any bitslip. Raises DeviceError if there is none."""
    runs = [(bitslip, run) for bitslip, row in enumerate(rows) if (run := longest_run(row)) is not None]
    best = max(
        (Eye(module, bitslip, *run) for bitslip, run in runs), key=lambda eye: eye.last - eye.first, default=None
    )
    if best is None:
        raise DeviceError(f"data pins {8 * module} to {8 * module + 7} of the memory read nothing right at any delay")
    return best

"""Aligns what a board writes to its memory, where its PHY can: strobes with the clock, bits with strobes, data between.

The steps and registers are those of LiteX's sdram.c for PHYs with output delays (of Kintex-7, for example).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from firmware.transport import DeviceError

__all__ = ["Report", "Training", "Written", "align_data", "align_strobes", "longest_run"]

Report = Callable[[int, int], None]
_MODE, _MODE_REGISTER, _LEVELLING = 15, 1, 1 << 7  # the command; JEDEC's MR1 and its bit for write levelling
_FEW, _MANY = 3, 31  # samples at a tap: odd, as the majority decides
_COARSE = 4  # taps between those tried where the width of a window is enough
_BITS = 2  # of a memory clock, by which the latency of a write may be wrong


class Training(Protocol):
    """What is needed of `firmware.dram`'s."""

    controller: Any
    link: Any
    all: int

    def write(self, *writes: list[tuple[int, int]]) -> None: ...

    def adjust(self, modules: int, *registers: str) -> None: ...

    def errors(self) -> list[int]: ...

    def windows(self, delays: Sequence[int], report: Report | None) -> list[list[list[bool]]]: ...


@dataclass(frozen=True)
class Written:
    """How a module (8 data pins) is written: taps of the clock and of the strobe, bits of latency, taps of the data."""

    module: int
    clock: int
    strobe: int
    bitslip: int
    data: int


def align_strobes(training: Training, report: Report | None = None) -> list[Written]:
    """Strobes with the clock at the chips, then each module's latency; the data are as late as their strobe yet.

    Raises DeviceError, which names the pins, for a strobe that meets no edge of the clock, or a latency that is none.
    """
    modules, delays = training.controller.modules, int(training.controller.phy["delays"])
    register = training.controller.registers["ddrphy_half_sys8x_taps"][0]
    quarter = training.link.transact((), [register])[0]  # of a memory clock, in taps: what a strobe is late at tap 0
    usable = delays - quarter
    _levelling(training, on=True)
    best: tuple[int, int, int] | None = None  # modules found, taps between them and the ends, the clock's delay
    training.adjust(training.all, "cdly_rst")
    for clock in range(2 * quarter):
        found = [at for at in _edges(training, usable, quarter, _FEW) if at is not None]
        room = min((min(at, usable - 1 - at) for at in found), default=0)
        if best is None or (len(found), room) > best[:2]:
            best = len(found), room, clock
        training.adjust(training.all, "cdly_inc")
        if report is not None:
            report(clock + 1, 2 * quarter)
    clock = best[2] if best is not None else 0
    training.adjust(training.all, "cdly_rst", *["cdly_inc"] * clock)
    edges = _edges(training, usable, quarter, _MANY)
    _levelling(training, on=False)
    strobes: list[int] = []
    for module, edge in enumerate(edges):
        if edge is None:
            raise DeviceError(f"the strobe of {_pins(module)} meets the memory's clock at no delay")
        strobes.append(max(0, edge))
        _delay(training, 1 << module, ("dqs", "dq"), strobes[module])
    slips = _latencies(training, report)
    return [Written(module, clock, strobes[module], slips[module], strobes[module]) for module in range(modules)]


def align_data(training: Training, written: Sequence[Written]) -> list[Written]:
    """Each module's data in the middle of where they are written right; reads have to be levelled.

    Raises DeviceError for a module that is written right at no delay.
    """
    delays = int(training.controller.phy["delays"])
    good: list[list[bool]] = [[] for _ in written]
    _delay(training, training.all, ("dq",), 0)
    for _ in range(delays):
        for module, errors in enumerate(training.errors()):
            good[module].append(not errors)
        training.adjust(training.all, "wdly_dq_inc")
    aligned = []
    for before in written:
        run = longest_run(good[before.module])
        if run is None:
            raise DeviceError(f"{_pins(before.module)} of the memory are written right at no delay")
        middle = (run[0] + run[1]) // 2
        _delay(training, 1 << before.module, ("dq",), middle)
        aligned.append(Written(before.module, before.clock, before.strobe, before.bitslip, middle))
    return aligned


def _pins(module: int) -> str:
    return f"data pins {8 * module} to {8 * module + 7}"


def _levelling(training: Training, *, on: bool) -> None:
    """The chips' mode, in which they answer each strobe with the clock's level, and the PHY's."""
    c = training.controller
    mode = next(step["address"] for step in c.init if step["register"] == "command" and step["bank"] == _MODE_REGISTER)
    setting = c.aim(0, mode | _LEVELLING if on else mode, _MODE_REGISTER)
    training.write(setting, c.command(0, _MODE), c.set("ddrphy_wlevel_en", int(on)), c.aim(0, 0, 0))
    if on:
        _delay(training, training.all, ("dqs", "dq"), 0)
        training.adjust(training.all, "wdly_dq_bitslip_rst")


def _delay(training: Training, modules: int, lines: Sequence[str], taps: int) -> None:
    training.adjust(modules, *(f"wdly_{line}_rst" for line in lines))
    for line in lines:
        training.adjust(modules, *[f"wdly_{line}_inc"] * taps)


def _edges(training: Training, usable: int, quarter: int, samples: int) -> list[int | None]:
    """Per module the tap at which its strobe sees the clock rise, None if that is nowhere near `usable` ones."""
    c = training.controller
    seen: list[list[bool]] = [[] for _ in range(c.modules)]
    _delay(training, training.all, ("dqs", "dq"), 0)
    for _ in range(usable):
        high = [0] * c.modules
        for _ in range(samples):
            got = 0
            for word in training.link.transact(c.set("ddrphy_wlevel_strobe", 1), c.registers["sdram_dfii_pi0_rddata"]):
                got = got << 32 | word
            for module in range(c.modules):
                lanes = (1 | 1 << int(c.phy["databits"])) * 0xFF << 8 * module
                high[module] += bool(got & lanes)
        for module, count in enumerate(high):
            seen[module].append(2 * count > samples)
        training.adjust(training.all, "wdly_dqs_inc", "wdly_dq_inc")
    return [_edge(row, quarter) for row in seen]


def _edge(row: Sequence[bool], quarter: int) -> int | None:
    """The tap at which the clock rises; before tap 0, by at most a quarter of its period, if only its fall is seen."""
    runs = _runs(row)
    rises = [(first, last) for first, last in runs if first and (last == len(row) - 1 or last - first >= quarter)]
    if rises:
        return max(rises, key=_length)[0]
    before = runs[0][1] + 1 - 2 * quarter if runs and runs[0][0] == 0 else None
    return before if before is not None and before > -quarter else None


def _latencies(training: Training, report: Report | None) -> list[int]:
    """Per module the bitslip, in memory clocks, with which reads find most of what was written."""
    phy, modules = training.controller.phy, training.controller.modules
    coarse = range(0, int(phy["delays"]), _COARSE)
    best, slips = [0] * modules, [0] * modules
    training.adjust(training.all, "wdly_dq_bitslip_rst")
    for slip in range(0, int(phy["bitslips"]), _BITS):
        for module, rows in enumerate(training.windows(coarse, report)):
            score = max(sum(row) for row in rows)
            if score > best[module]:
                best[module], slips[module] = score, slip
        training.adjust(training.all, *["wdly_dq_bitslip"] * _BITS)
    for module, score in enumerate(best):
        if not score:
            raise DeviceError(f"{_pins(module)} of the memory are written right with no latency")
        training.adjust(1 << module, "wdly_dq_bitslip_rst", *["wdly_dq_bitslip"] * slips[module])
    return slips


def longest_run(row: Sequence[bool]) -> tuple[int, int] | None:
    """First and last place of the longest run of true ones."""
    return max(_runs(row), key=_length, default=None)


def _length(run: tuple[int, int]) -> int:
    return run[1] - run[0]


def _runs(row: Sequence[bool]) -> list[tuple[int, int]]:
    runs, first = [], None
    for place, good in enumerate([*row, False]):
        if good and first is None:
            first = place
        elif not good and first is not None:
            runs.append((first, place - 1))
            first = None
    return runs

"""`predict`: what a compiled program costs."""

from __future__ import annotations

from dataclasses import dataclass

from firmware.layout import place
from firmware.planner.program import Program
from firmware.profile import LayerProfile, layer_profiles
from hw.boards.memory import Memory
from hw.spec.config import Config
from hw.spec.isa import Engine, Region
from sim.cycles.machine import Machine

__all__ = ["Prediction", "code_cycles", "predict"]

Interval = tuple[int, int]
_APART = 1 << 30  # bytes, more than any region has


@dataclass(frozen=True)
class Prediction:
    """One run. ``intervals`` are as `Traced.intervals` gives them, but counted from START."""

    cycles: int
    beats: int  # token words that enter the array, padding included
    macs: int  # of the model, for the program's images
    macs_per_cycle: int  # the array's peak
    busy: dict[Engine, int]  # cycles in which the engine moves data
    intervals: tuple[tuple[Interval, ...], ...]
    layers: tuple[LayerProfile, ...]

    @property
    def utilisation(self) -> float:
        """Model MACs per cycle, as a fraction of the peak."""
        return self.macs / (self.cycles * self.macs_per_cycle)

    @property
    def occupancy(self) -> float:
        """Fraction of cycles in which the array takes a word, useful or padding."""
        return self.beats / self.cycles


def code_cycles(code: bytes, config: Config, memory: Memory) -> int:
    """Cycles of one run of instructions alone, each region at the beginning of a page."""
    bases = {region: (1 + region) * _APART for region in Region}
    return Machine(config, code, program=0, bases=bases, memory=memory).cycles


def predict(program: Program, *, memory: Memory | None = None, memory_size: int = 256 << 20) -> Prediction:
    """Cycles of one run of `program`, laid out as the host lays it out in `memory_size` bytes.

    With `memory`, or the one that it was compiled for.
    """
    layout = place(program, memory_size)
    machine = Machine(
        program.config, program.code, program=layout.program, bases=layout.bases, memory=memory or program.memory
    )
    intervals = tuple(
        tuple(zip(started, retired, strict=True))
        for started, retired in zip(machine.started, machine.retired, strict=True)
    )
    return Prediction(
        cycles=machine.cycles,
        beats=machine.matmul.beats,
        macs=program.macs,
        macs_per_cycle=program.config.macs_per_cycle,
        busy=machine.busy(),
        intervals=intervals,
        layers=layer_profiles(program, 1, intervals),
    )

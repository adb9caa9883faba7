"""Where the cycles of a run went: by engine from the device's counters, by layer from a simulator's trace."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from firmware.planner.program import Program
from hw.spec.isa import Engine

__all__ = ["EngineProfile", "LayerProfile", "Profile", "combined", "covered", "layer_profiles"]

Interval = tuple[int, int]


@dataclass(frozen=True)
class EngineProfile:
    """Cycles an engine moved data, waited for a dependency or input, and waited for room for its output."""

    name: str
    busy: int
    wait_in: int
    wait_out: int


@dataclass(frozen=True)
class LayerProfile:
    """Cycles during which at least one MATMUL or VECTOR instruction of the layer was between start and retirement.

    Layers overlap, so their cycles may add up to more than the run's. A layer that only moves data is measured by its
    LOAD, FETCH and STORE instructions.
    """

    name: str
    op: str
    macs: int
    cycles: int


@dataclass(frozen=True)
class Profile:
    """One `run` call, padding of incomplete batches included."""

    images: int
    cycles: int
    instructions: int
    beats: int  # token words that entered the array, padding included
    macs: int  # of the model, for `images`: those that were executed
    macs_per_cycle: int  # the array's peak
    engines: tuple[EngineProfile, ...]
    layers: tuple[LayerProfile, ...] = ()  # empty without a trace

    @property
    def utilisation(self) -> float:
        """Executed MACs per cycle, as a fraction of the peak: what an image really costs."""
        return self.macs / (self.cycles * self.macs_per_cycle) if self.cycles else 0.0

    @property
    def occupancy(self) -> float:
        """Fraction of cycles in which the array took a word, useful or padding."""
        return self.beats / self.cycles if self.cycles else 0.0


def combined(parts: Sequence[Profile]) -> Profile:
    """The sum of consecutive profiles of one program."""
    first = parts[0]
    engines = [
        EngineProfile(
            rows[0].name, *(sum(getattr(row, part) for row in rows) for part in ("busy", "wait_in", "wait_out"))
        )
        for rows in zip(*(part.engines for part in parts), strict=True)
    ]
    layers = [
        LayerProfile(rows[0].name, rows[0].op, sum(row.macs for row in rows), sum(row.cycles for row in rows))
        for rows in zip(*(part.layers for part in parts), strict=True)
    ]
    total = {
        name: sum(getattr(part, name) for part in parts)
        for name in ("images", "cycles", "instructions", "beats", "macs")
    }
    return Profile(**total, macs_per_cycle=first.macs_per_cycle, engines=tuple(engines), layers=tuple(layers))


def covered(intervals: Iterable[Interval]) -> int:
    """Length of the union of half-open intervals."""
    total, end = 0, 0
    for start, stop in sorted(intervals):
        total += max(0, stop - max(start, end))
        end = max(end, stop)
    return total


def layer_profiles(program: Program, runs: int, intervals: Sequence[Sequence[Interval]]) -> tuple[LayerProfile, ...]:
    """Layers of `runs` runs; empty when the trace does not hold exactly their instructions."""
    if any(len(intervals[engine]) != runs * program.counts[engine] for engine in Engine):
        return ()
    result = []
    for layer in program.layers:
        computing = {Engine.MATMUL, Engine.VECTOR} & set(layer.instructions)
        spans = [
            intervals[engine][run * program.counts[engine] + ordinal]
            for engine in computing or layer.instructions
            for ordinal in layer.instructions[engine]
            for run in range(runs)
        ]
        # A retirement pulse belongs to the cycle it is in.
        cycles = covered((start, stop + 1) for start, stop in spans)
        result.append(LayerProfile(layer.name, layer.op, layer.macs * runs, cycles))
    return tuple(result)

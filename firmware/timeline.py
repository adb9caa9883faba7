"""What the five engines did while a block of the model was computed: bars from issue to retirement, over cycles."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from firmware.errors import UserError
from firmware.planner.program import Program
from firmware.plots import figure
from firmware.profile import Interval, covered
from firmware.trace import check_intervals, tracks
from hw.spec.isa import Engine

__all__ = ["Bar", "Timeline", "block_of", "timeline", "timeline_figure"]

_ROW = 0.8  # of the distance of two rows
_OTHERS = "other layers"


@dataclass(frozen=True, kw_only=True)
class Bar:
    """An instruction from its issue until the cycle after its retirement."""

    engine: Engine
    track: int  # of the engine's; instructions in flight at the same time have different ones
    start: int
    end: int
    layer: str  # "" for one of another block


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """The instructions that were in flight while MATMUL or VECTOR computed `block`, in the first run of a program."""

    block: str  # "" for the whole program
    start: int
    end: int
    bars: Sequence[Bar]

    def share(self, engine: Engine) -> float:
        """Of the cycles, those in which `engine` had an instruction in flight."""
        spans = [(max(bar.start, self.start), min(bar.end, self.end)) for bar in self.bars if bar.engine is engine]
        return covered(spans) / (self.end - self.start)


def block_of(program: Program, name: str | None) -> str:
    """The block called `name`: a prefix of layers' names, up to a dot; the first one of a transformer for None.

    A program without any is one block, "". Raises UserError for one that is not there.
    """
    layers = [layer.name for layer in program.layers]
    found = [match[0] for layer in layers if (match := re.match(r"(?:\w+\.)*?blocks\.\d+(?=\.)", layer))]
    if name is None:
        return found[0] if found else ""
    if not any(f"{layer}.".startswith(f"{name}.") for layer in layers):
        known = f"{found[0]} to {found[-1]}" if found else ", ".join(layers)
        raise UserError(f"no layer of {program.model.name} is in a block {name}; there are {known}")
    return name


def timeline(program: Program, intervals: Sequence[Sequence[Interval]], block: str, *, runs: int = 1) -> Timeline:
    """Of `block`, one of `block_of`; `intervals` are those of `runs` runs.

    Raises ValueError when they do not hold exactly the instructions of the program.
    """
    check_intervals(program.counts, intervals, runs)
    layers = [layer for layer in program.layers if not block or f"{layer.name}.".startswith(f"{block}.")]
    names = {
        (engine, ordinal): layer.name
        for layer in layers
        for engine, ordinals in layer.instructions.items()
        for ordinal in ordinals
    }
    computing = {place for place in names if place[0] in {Engine.MATMUL, Engine.VECTOR}} or names
    spans = [intervals[engine][ordinal] for engine, ordinal in computing]
    start, end = min(first for first, _ in spans), max(last + 1 for _, last in spans)
    bars = [
        Bar(engine=engine, track=track, start=first, end=last + 1, layer=names.get((engine, ordinal), ""))
        for engine in Engine
        for ordinal, ((first, last), track) in enumerate(
            zip(intervals[engine][: program.counts[engine]], tracks(intervals[engine]), strict=False)
        )
        if first < end and last >= start
    ]
    return Timeline(block=block, start=start, end=end, bars=bars)


def timeline_figure(line: Timeline, *, title: str) -> Any:
    """A matplotlib Figure: a row per engine, a colour per layer of the block, cycles from its first on."""
    layers = list(dict.fromkeys(bar.layer for bar in sorted(line.bars, key=lambda bar: bar.start) if bar.layer))

    def paint(made: Any) -> None:
        from matplotlib import colormaps

        colours = {layer: colormaps["tab20"](number % 20) for number, layer in enumerate(layers)}
        axes = made.subplots()
        for layer in ["", *layers]:
            label = layer.removeprefix(f"{line.block}.") if layer else _OTHERS
            for row, (place, bars) in enumerate(_rows(line, layer)):
                axes.broken_barh(
                    bars, place, color=colours.get(layer, "#dddddd"), linewidth=0, label=label if not row else None
                )
        axes.set_yticks(range(len(Engine)), [f"{engine.name}\n{line.share(engine):.0%}" for engine in Engine])
        axes.invert_yaxis()
        axes.set_xlim(0, line.end - line.start)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.grid(axis="x")
        axes.set_xlabel("cycles; beside an engine, the share of them in which it has an instruction in flight")
        axes.set_title(f"{title}: {line.block or 'whole program'}, {line.end - line.start:,} cycles")
        handles, labels = axes.get_legend_handles_labels()
        made.legend(handles, labels, loc="outside lower center", ncols=6)

    return figure(12, 4.5 + 0.18 * (len(layers) // 6), paint)


def _rows(line: Timeline, layer: str) -> Iterator[tuple[tuple[float, float], list[tuple[int, int]]]]:
    """Of a layer's bars, by engine and track: bottom and height; start, from the first cycle on, and length."""
    for engine in Engine:
        mine = [bar for bar in line.bars if bar.engine is engine]
        count = max((bar.track for bar in mine), default=0) + 1
        for track in range(count):
            bars = [
                (bar.start - line.start, bar.end - bar.start)
                for bar in mine
                if (bar.layer, bar.track) == (layer, track)
            ]
            if bars:
                yield (engine - _ROW / 2 + track * _ROW / count, _ROW / count), bars

"""Roofline of a program: what array, memory and vector lanes allow each layer, beside what it took.

Three roofs: the array multiplies rows x cols a cycle; the memory moves words as fast as it gives long runs of
them; the VECTOR engine takes `lanes` elements a cycle through Shiftmax and I-LayerNorm, one through ShiftGELU and
addition.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from firmware.planner.program import Program
from firmware.profile import LayerProfile
from firmware.screen import show
from hw.spec.isa import Engine, Instruction, Op, engine_of
from hw.spec.memory import tiles
from hw.spec.vector import row_of

__all__ = ["Point", "as_json", "merged", "print_roofline", "roofline", "svg", "total"]


@dataclass(frozen=True)
class Point:
    """One layer, or several: work, and the cycles each roof alone would take. `cycles` is what it took."""

    name: str
    macs: int
    bytes: int  # moved by FETCH, LOAD and STORE
    elements: int  # through VECTOR; Shiftmax and I-LayerNorm pass twice and count twice
    array: float  # cycles at rows x cols MACs
    beats: int  # cycles the array's words take: padding and second planes included
    memory: float
    vector: float
    cycles: int = 0

    @property
    def intensity(self) -> float:
        """MACs per byte of memory traffic."""
        return self.macs / self.bytes if self.bytes else math.inf

    @property
    def bound(self) -> str:
        """The roof that is lowest."""
        return max(("array", "memory", "vector"), key=lambda roof: getattr(self, roof))

    @property
    def attained(self) -> float:
        """MACs per cycle that it took."""
        return self.macs / self.cycles if self.cycles else 0.0


def roofline(program: Program, layers: Sequence[LayerProfile] = (), *, runs: int = 1) -> list[Point]:
    """One point per layer of one run; `layers` are those of `runs` runs, if it ran."""
    by_engine: dict[Engine, list[Instruction]] = {engine: [] for engine in Engine}
    for instruction in program.disassemble():
        engine = engine_of(instruction.op)
        if engine is not None:
            by_engine[engine].append(instruction)
    taken = {layer.name: layer.cycles // runs for layer in layers}
    points = []
    for layer in program.layers:
        chosen = [by_engine[engine][n] for engine, ordinals in layer.instructions.items() for n in ordinals]
        points.append(_point(program, layer.name, layer.macs, chosen, taken.get(layer.name, 0)))
    return points


def _point(program: Program, name: str, macs: int, instructions: Sequence[Instruction], cycles: int) -> Point:
    config = program.config
    words = elements = beats = 0
    vector = 0.0
    for instruction in instructions:
        op, use = instruction.op, instruction.operands
        if op is Op.FETCH:
            words += use["words"]
        elif op in (Op.LOAD, Op.STORE):
            words += use["run"] * use["count1"] * use["count2"]
        elif op is Op.MATMUL:
            beats += tiles(use["outputs"], config) * use["passes"] * (1 + use["two_planes"]) * use["rows"]
        elif (row := row_of(op)) is not None:
            size = use["rows"] * use["length"]
            elements += size
            vector += size / row.elements(config.lanes)
    memory = words * program.memory.word_cycles(config.word_bytes)
    return Point(
        name, macs, words * config.word_bytes, elements, macs / config.macs_per_cycle, beats, memory, vector, cycles,
    )  # fmt: skip


def total(points: Sequence[Point], name: str = "whole program", cycles: int | None = None) -> Point:
    """The sum; `cycles` replaces the sum of the layers' cycles, which overlap."""
    sums = {field: sum(getattr(point, field) for point in points) for field in asdict(points[0]) if field != "name"}
    if cycles is not None:
        sums["cycles"] = cycles
    return Point(name, **sums)


def merged(points: Sequence[Point]) -> list[Point]:
    """Equal layers of all blocks as one: blocks.*.mlp.fc1."""
    groups: dict[str, list[Point]] = {}
    for point in points:
        groups.setdefault(re.sub(r"\bblocks\.\d+\.", "blocks.*.", point.name), []).append(point)
    return [total(group, name) for name, group in groups.items()]


def as_json(point: Point) -> dict[str, Any]:
    """The point with its derived figures; no infinities, which JSON lacks."""
    ratio = point.intensity if point.bytes else None
    return {**asdict(point), "macs_per_byte": ratio, "bound": point.bound, "macs_per_cycle": point.attained}


def print_roofline(points: Sequence[Point], whole: Point, console: Console, *, bandwidth: float) -> None:
    """Table of the three roofs, equal layers of all blocks together, in thousands of cycles.

    `bandwidth` is the memory's, in bytes per cycle.
    """
    table = Table(
        title=f"roofline, thousands of cycles; memory at {bandwidth:.1f} bytes per cycle",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for heading in ("layer", "MAC/byte", "array", "beats", "memory", "vector", "bound", "taken"):
        table.add_column(heading, justify="left" if heading in {"layer", "bound"} else "right", no_wrap=True)
    for point in (*merged(points), whole):
        ratio = f"{point.intensity:.1f}" if point.macs and point.bytes else ""
        roofs = (point.array, point.beats, point.memory, point.vector)
        name = point.name.removeprefix("blocks.")
        table.add_row(name, ratio, *map(_thousands, roofs), point.bound, _thousands(point.cycles))
    show(table, console)


def _thousands(cycles: float) -> str:
    return f"{cycles / 1e3:,.{0 if cycles >= 1e5 else 1}f}" if cycles else ""


_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 860, 520, 70, 40, 250, 60


def svg(points: Sequence[Point], whole: Point, peak: int, bandwidth: float, figures: str = "attainable") -> str:
    """The plot: MAC per cycle over MAC per byte, both logarithmic; layers with MACs as numbered dots.

    `figures` says where the cycles come from.
    """
    shown = [point for point in (*merged(points), whole) if point.macs and point.bytes]
    low = 2.0 ** math.floor(math.log2(min(1.0, *(point.intensity for point in shown)) / 2))
    high = 2.0 ** math.ceil(math.log2(max(point.intensity for point in shown) * 2))
    top = max(peak * 2.0, min(peak * 8.0, 1.5 * whole.macs / whole.vector if whole.vector else 0.0))
    floor = min(1.0, *(max(point.attained, 0.25) for point in shown)) / 2

    def x(value: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * math.log(value / low) / math.log(high / low)

    def y(value: float) -> float:
        return (
            _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * math.log(max(value, floor) / floor) / math.log(top / floor)
        )

    def line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
        return f'<line x1="{x(x1):.1f}" y1="{y(y1):.1f}" x2="{x(x2):.1f}" y2="{y(y2):.1f}" {style}/>'

    ridge = peak / bandwidth
    dark = 'stroke="#222" stroke-width="2"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" font-size="12">',
        '<g font-family="sans-serif"><rect width="100%" height="100%" fill="white"/>',
        *(line(v, floor, v, top, 'stroke="#ddd"') for v in _powers(low, high)),
        *(line(low, v, high, v, 'stroke="#ddd"') for v in _powers(floor, top)),
        *(_text(x(v), _HEIGHT - _BOTTOM + 16, f"{v:g}", "middle") for v in _powers(low, high)),
        *(_text(_LEFT - 6, y(v) + 4, f"{v:g}", "end") for v in _powers(floor, top)),
        line(low, max(floor, low * bandwidth), min(ridge, high), min(peak, high * bandwidth), dark),
        line(min(ridge, high), peak, high, peak, dark),
        _text(x(high) - 4, y(peak) - 6, f"array: {peak} MAC/cycle", "end"),
        _text(_LEFT + 6, y(max(floor, low * bandwidth)) - 6, f"memory: {bandwidth:.1f} bytes/cycle", "start"),
    ]
    if whole.vector:
        roof = min(whole.macs / whole.vector, top)
        parts.append(line(low, roof, high, roof, 'stroke="#06c" stroke-dasharray="6 4"'))
        parts.append(_text(_LEFT + 6, y(roof) - 6, f"vector, whole program: {whole.macs / whole.vector:.0f}", "start"))
    for number, point in enumerate(shown, start=1):
        value = point.attained or peak * point.array / max(point.array, point.memory, point.vector)
        colour = "#c00" if point is whole else "#080"
        parts.append(f'<circle cx="{x(point.intensity):.1f}" cy="{y(value):.1f}" r="5" fill="{colour}"/>')
        parts.append(_text(x(point.intensity) + 7, y(value) + 4, str(number), "start"))
        label = f"{number} {point.name}: {value:.0f}"
        parts.append(_text(_WIDTH - _RIGHT + 12, _TOP + 18 * number, label, "start"))
    parts.append(_text((_WIDTH - _RIGHT + _LEFT) / 2, _HEIGHT - 18, "MAC per byte of memory traffic", "middle"))
    parts.append(_text(_LEFT, _TOP - 16, f"MAC per cycle, {figures}", "start"))
    return "\n".join([*parts, "</g></svg>", ""])


def _powers(low: float, high: float) -> list[float]:
    """Powers of two (or four, when there are many) in [low, high]."""
    first, last = math.ceil(math.log2(low)), math.floor(math.log2(high))
    return [2.0**n for n in range(first, last + 1, 1 if last - first < 10 else 2)]


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'

"""What a core takes of a part, without its synthesis: units that were synthesised, and a fit to cores that were.

``areas.json`` has those cores, unit by unit. A resource of a part of a unit is a sum of multiples of what it is made of
(`_made_of`), fitted by least squares; what is counted and not mapped, such as multipliers, comes out exactly.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from firmware.errors import UserError
from hw.boards.board import Board
from hw.boards.fabric import Fabric
from hw.boards.registry import find
from hw.build import yosys
from hw.build.synthesis import Counts
from hw.build.units import Parts, UnitSource, known, measured, units_of
from hw.spec.config import Config
from hw.spec.vector import built
from hw.vector.row_units import places_products

__all__ = ["STORED", "AreaModel", "Fit", "stored_cores"]

STORED = Path(__file__).with_name("areas.json")
"""Cores that were synthesised unit by unit, by the tool it names, and what boards have around them."""

_OWN = "own"  # a unit without its parts
_Row = tuple[UnitSource, Parts]


def stored_cores(fabric: Fabric) -> list[list[_Row]]:
    """The units of the stored cores of a family of parts, and what each takes."""
    found = []
    for core in json.loads(STORED.read_text())["cores"]:
        board = find(core["board"])
        if board.fabric.name == fabric.name:
            units = units_of(board.override(core["settings"]).config, fabric)
            found.append([(unit, core["units"][unit.name]) for unit in units])
    return found


def _opcodes(unit: UnitSource) -> set[str]:
    """Parts of a VECTOR engine that only some have: the units of the opcodes that are built."""
    return {row.name.lower() for row in built(unit.parameters["vector"]) if not row.adds}


def _in_luts(unit: UnitSource, part: str) -> float:
    """1 where the products of a VECTOR engine's part are in LUTs."""
    if unit.parameters["products"] != "lut":
        return 0.0
    return float(part in {row.name.lower() for row in built(unit.parameters["vector"]) if places_products(row)})


def _made_of(unit: UnitSource, part: str, resource: str) -> list[float]:
    """What a resource of a part is a sum of multiples of."""
    p = unit.parameters
    if resource == "dsp":  # counted by the gateware, not mapped
        if unit.name == "vector":
            there = 1.0 - _in_luts(unit, part)
            return [there, there * p["lanes"]]
        return {
            "array": [p.get("rows", 0) * p.get("cols", 0)], "drain": [p.get("drain_lanes", 0)],
        }.get(part, [1.0])  # fmt: skip
    if "ram" in resource or resource == "ebr":
        bits = {
            "scratchpad": lambda: [p["banks"] * p["bank_words"] * p["word_bits"]],
            "fetch": lambda: [p["stream_words"] * p["word_bits"]],
            "sequencer": lambda: [1.0, p["word_bits"]],
            "vector": lambda: [1.0, p["lanes"]],
        }
        return bits.get(unit.name, lambda: [1.0])()
    return [1.0, *_logic(unit, part)]


def _logic(unit: UnitSource, part: str) -> list[float]:
    """What LUTs and registers grow with."""
    p = unit.parameters
    if unit.name == "vector":
        if part == _OWN:
            return [p["lanes"], p["rows"], p["lanes"] * p["rows"]]
        added = _in_luts(unit, part)
        return [p["lanes"], added, added * p["lanes"]]
    if unit.name == "matmul":
        return {
            "array": [p["cols"], p["rows"] * p["cols"]],
            "accumulator": [p["cols"]],
            "drain": [p["drain_lanes"], p["cols"]],
            "feeder": [p["rows"], p["cols"]],
            "row_max": [p["drain_lanes"]],
            "writer": [p["drain_lanes"], p["rows"]],
        }.get(part, [p["rows"], p["cols"], p["drain_lanes"]])
    several = float(p.get("slices", 1) > 1)
    return {
        "sequencer": lambda: [p["word_bits"], len(p["ops"])],
        "fetch": lambda: [p["word_bits"]],
        "load": lambda: [p["word_bits"], several],
        "store": lambda: [p["word_bits"], several],
        "scratchpad": lambda: [p["word_bits"] * p["banks"]],
        "weights": lambda: [p["shape"] * p["count"]],
        "reads": lambda: [p["word_bits"] * p["slices"]],
        "writes": lambda: [p["slices"]],
        "lockstep": lambda: [p["slices"]],
    }.get(unit.name, list)()


class Fit:
    """Least squares over units that were synthesised, one line for each part and resource."""

    def __init__(self, found: list[_Row], resources: tuple[str, ...]) -> None:
        self._resources = resources
        self._lines: dict[tuple[str, str, str], Any] = {}
        found = [*{_key(unit): (unit, parts) for unit, parts in found}.values()]  # each once
        vectors = [row for row in found if row[0].name == "vector"]
        self._add(
            (unit, part, used)
            for unit, parts in found
            for part, used in parts.items()
            if (unit.name == "matmul" and part) or (unit.name == "vector" and part in _opcodes(unit))
        )
        whole = [(unit, parts) for unit, parts in found if unit.name != "vector"]
        self._add(
            (unit, _OWN, self._rest(parts[""], [used for part, used in parts.items() if part])) for unit, parts in whole
        )
        self._add((unit, _OWN, self._rest(parts[""], self._vector_parts(unit, parts))) for unit, parts in vectors)

    def _add(self, samples: Iterable[tuple[UnitSource, str, Counts]]) -> None:
        sorted_out: dict[tuple[str, str, str], list[tuple[list[float], float]]] = {}
        for unit, part, used in samples:
            for resource in self._resources:
                sample = _made_of(unit, part, resource), used[resource]
                sorted_out.setdefault((unit.name, part, resource), []).append(sample)
        self._lines |= {key: _line(rows) for key, rows in sorted_out.items()}

    def _rest(self, whole: Counts, parts: list[Counts]) -> Counts:
        return {name: whole[name] - sum(part[name] for part in parts) for name in self._resources}

    def _vector_parts(self, unit: UnitSource, parts: Parts) -> list[Counts]:
        """Of its opcodes' units: as synthesised, or else as fitted."""
        return [parts.get(part) or self._part(unit, part) for part in sorted(_opcodes(unit))]

    def _part(self, unit: UnitSource, part: str) -> Counts:
        if (unit.name, part, self._resources[0]) not in self._lines:
            raise UserError(f"what the opcode {part.upper()} takes was never synthesised: explore without its unit")
        return {
            name: max(0.0, float(np.dot(_made_of(unit, part, name), self._lines[unit.name, part, name])))
            for name in self._resources
        }

    def of(self, unit: UnitSource) -> Counts:
        """What one of the unit takes. Raises UserError for an opcode of VECTOR that no stored core has."""
        every = dict.fromkeys(part for name, part, _ in self._lines if name == unit.name)
        parts = [_OWN, *_opcodes(unit)] if unit.name == "vector" else every
        found = [self._part(unit, part) for part in parts]
        total = {name: sum(used[name] for used in found) for name in self._resources}
        return {name: round(2 * number) / 2 if "ram" in name else round(number) for name, number in total.items()}


def _line(samples: list[tuple[list[float], float]]) -> Any:
    """A coefficient for each feature; of several solutions the smallest, features in units of their largest."""
    features, values = (np.array(side, float) for side in zip(*samples, strict=True))
    largest = np.maximum(np.abs(features).max(axis=0), 1)
    return np.linalg.lstsq(features / largest, values, rcond=None)[0] / largest


class AreaModel:
    """What Configs take on `board`. Raises UserError for a fabric of which no core is stored."""

    def __init__(self, board: Board) -> None:
        self._board, self._fabric = board, board.fabric
        self._resources = tuple(board.fabric.columns)
        self._cores = stored_cores(board.fabric)
        if not self._cores:
            raise UserError(f"no cores of {board.fabric.title} are stored that an estimate of areas could be fitted to")
        self._fit = Fit([row for core in self._cores for row in core], self._resources)
        self._known: dict[str, Counts | None] = {}

    def of(self, config: Config) -> tuple[Counts, Counts, tuple[str, ...]]:
        """Resources of the core, of the whole system, and the units of the core that are fitted."""
        total, fitted = dict.fromkeys(self._resources, 0.0), []
        for unit in units_of(config, self._fabric):
            used = self._synthesised(unit)
            if used is None:
                used = self._fit.of(unit)
                fitted.append(unit.name)
            for resource in total:
                total[resource] += unit.copies * used[resource]
        around = self.around.values()
        system = {name: number + sum(used[name] for used in around) for name, number in total.items()}
        return total, system, tuple(fitted)

    def measure(self, config: Config, watch: yosys.Watch | None = None) -> None:
        """Synthesises the units of `config` that were not. Raises YosysError."""
        for unit in units_of(config, self._fabric):
            if self._synthesised(unit) is None:
                self._known[_key(unit)] = measured(unit, self._fabric, watch)[""]

    def _synthesised(self, unit: UnitSource) -> Counts | None:
        key = _key(unit)
        if key not in self._known:
            parts = known(unit, self._fabric)
            self._known[key] = parts and parts[""]
        return self._known[key]

    @cached_property
    def around(self) -> Mapping[str, Counts]:
        """What shell, link and clock crossing take, synthesised; empty where that is not stored, or there are none."""
        stored = json.loads(STORED.read_text())
        found: dict[str, Counts] = stored["around"].get(self._board.name, {}) if self._board.shell else {}
        crossing = {"crossing": stored["crossing"][self._fabric.name]} if found and self._board.crossed else {}
        return {**found, **crossing}

    @property
    def around_text(self) -> str:
        """A sentence."""
        if self.around:
            parts = (f"{name} {used['lut']:,} LUT" for name, used in self.around.items())
            return f"counted with what is around it on {self._board.name}: {', '.join(parts)} (synthesised)"
        if self._board.shell:
            return f"without shell and link of {self._board.name}, of which no synthesis is stored"
        return "the accelerator alone"

    @cached_property
    def errors(self) -> dict[str, dict[str, float]]:
        """Of the fit, by resource: the mean and the largest error of a core's total, as fractions.

        Each core in turn is predicted from the units of all others that it does not have itself.
        """
        off = np.array([self._error(core) for core in self._cores])
        means, worst = off.mean(axis=0), off.max(axis=0)
        return {
            name: {"mean": float(mean), "worst": float(most)}
            for name, mean, most in zip(self._resources, means, worst, strict=True)
        }

    def _error(self, core: list[_Row]) -> list[float]:
        own = {_key(unit) for unit, _ in core}
        every = [row for other in self._cores for row in other]
        kinds = {unit.name for unit, _ in every if _key(unit) not in own}
        rest = [(unit, parts) for unit, parts in every if _key(unit) not in own or unit.name not in kinds]
        fit = Fit(rest, self._resources)
        guessed = [(unit.copies, fit.of(unit), parts[""]) for unit, parts in core]
        sums = [
            (sum(n * guess[name] for n, guess, _ in guessed), sum(n * used[name] for n, _, used in guessed))
            for name in self._resources
        ]
        return [abs(guess / true - 1) if true else float(guess > 0) for guess, true in sums]


def _key(unit: UnitSource) -> str:
    return f"{unit.name} {sorted(unit.parameters.items())}"

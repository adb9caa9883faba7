"""Synthesis report by yosys: what every unit takes of the part's LUTs, registers, multipliers and memories."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from firmware.caches import digest, is_whole, seal
from firmware.files import write
from hw.boards.fabric import Family
from hw.build import yosys

__all__ = ["Counts", "Unit", "count", "synthesise"]

Counts = dict[str, float]
"""Resource -> how many."""


@dataclass(frozen=True)
class Unit:
    """A module of the design, named by its place in the hierarchy, and its resources, its children's included."""

    name: str
    used: Counts


def count(family: Family, cells: Mapping[str, int]) -> Counts:
    """Cell counts as resources."""
    used: Counts = dict.fromkeys(family.columns, 0)
    for cell, number in cells.items():
        found = family.resource(cell)
        if found:
            used[found[0]] += found[1] * number
    return used


def synthesise(
    sources: Sequence[str],
    top: str,
    family: Family,
    directory: Path,
    *,
    keep: Callable[[str], bool] = lambda _name: False,
    watch: yosys.Watch | None = None,
) -> list[Unit]:
    """Maps module `top` of `sources`, Verilog and RTLIL files in `directory`.

    The first Unit is `top`, then each one that `keep` names.

    Everything else is flattened into the unit it is in. Nothing is optimised across the units kept, so the total is an
    upper bound. Writes ``synthesis_TOP.*``; when Verilog, commands and yosys are those of the last time, reads the
    result from there. Raises YosysError.
    """
    text = "".join((directory / name).read_text() for name in sources)
    kept = [name for name in re.findall(r"^module \\?([^\s(]+)", text, re.MULTILINE) if name != top and keep(name)]
    script = _script(sources, top, family, kept)
    cache, mark = directory / f"synthesis_{top}.json", directory / f"synthesis_{top}.key"
    made_from = digest(text, script, yosys.tool())
    if is_whole(cache, made_from, mark) and (directory / family.netlist).exists():
        return [Unit(**unit) for unit in json.loads(cache.read_text())]
    yosys.run(f"synthesis_{top}", script, directory, watch)
    units = _units(_cells(directory, family), top)
    write(cache, json.dumps([asdict(unit) for unit in units], indent=1) + "\n")
    seal(cache, made_from, mark)
    for scratch in ("cells.json", "memories.json"):
        (directory / scratch).unlink(missing_ok=True)
    return units


def _script(sources: Sequence[str], top: str, family: Family, kept: list[str]) -> str:
    marks = "".join(f"setattr -mod -set keep_hierarchy 1 {name}\n" for name in kept)
    reads = "".join(f"read_{'rtlil' if name.endswith('.il') else 'verilog'} {name}\n" for name in sources)
    # yosys would read again, and so undo, every module kept that an instance of a vendor's cell was flattened into
    once = "setattr -unset reprocess_after */t:*\n"
    areas = "".join(f" -liberty {name}" for name in family.libraries)
    # ports, too: assignments to several bits at once are more than every OpenSTA reads
    flat = "setattr -mod -unset keep_hierarchy *\nflatten\nsplitnets -ports\nopt_clean -purge\nwrite_verilog -noattr "
    return (
        f"{reads}hierarchy -top {top}\n{once}{marks}{family.commands.format(top=top)}"
        f"tee -q -o cells.json stat -json{areas}\n{f'{flat}{family.netlist}' if family.netlist else ''}\n"
    )


def _cells(directory: Path, family: Family) -> dict[str, tuple[Counts, dict[str, int]]]:
    """Module -> resources of its own cells, cell types and their numbers."""
    modules: dict[str, Any] = json.loads((directory / "cells.json").read_text())["modules"]
    modules = {name.lstrip("\\"): module for name, module in modules.items()}
    found = {}
    for name, module in modules.items():
        cells = {cell.lstrip("\\"): number for cell, number in module["num_cells_by_type"].items()}
        units = cells.keys() & modules.keys()
        used = count(family, {cell: number for cell, number in cells.items() if cell not in units})
        if family.libraries:  # yosys adds the units' areas
            below = sum(cells[unit] * modules[unit].get("area", 0) for unit in units)
            used["area"] = round(module.get("area", 0) - below, 3)
        found[name] = (used, cells)
    if "memory" in family.columns:
        memories = json.loads((directory / "memories.json").read_text())["modules"]
        for name, (used, _) in found.items():
            used["memory"] = memories["\\" + name]["num_memory_bits"]
    return found


def _units(modules: dict[str, tuple[Counts, dict[str, int]]], top: str) -> list[Unit]:
    totals: dict[str, Counts] = {}

    def total(name: str) -> Counts:
        if name not in totals:
            own, cells = modules[name]
            sums = dict(own)
            for child in cells.keys() & modules.keys():
                for resource, number in total(child).items():
                    sums[resource] += number * cells[child]
            totals[name] = sums
        return totals[name]

    return [Unit(name, total(name)) for name in sorted(modules, key=lambda name: (name != top, name))]

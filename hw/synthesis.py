"""Synthesis report by yosys: cells of every unit, counted as the part's LUT, FF, DSP and BRAM36."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hw import yosys
from hw.boards.board import Capacity

__all__ = ["Unit", "count", "synthesise"]

# 7-series cells in LUT6 (Xilinx UG474: a RAM32M, RAM64M or RAM128X1D takes four LUTs of a SLICEM)
_LUTS = {
    **{f"LUT{n}": 1 for n in range(1, 7)},
    "SRL16E": 1, "SRLC16E": 1, "SRLC32E": 1, "RAM32X1S": 1, "RAM64X1S": 1, "RAM32X1D": 2, "RAM64X1D": 2,
    "RAM128X1S": 2, "RAM128X1D": 4, "RAM256X1S": 4, "RAM32M": 4, "RAM64M": 4,
}  # fmt: skip
_FFS = ("FDRE", "FDSE", "FDCE", "FDPE", "FDRE_1", "FDSE_1", "FDCE_1", "FDPE_1")
_BRAMS = {"RAMB36E1": 1.0, "RAMB18E1": 0.5}


@dataclass(frozen=True)
class Unit:
    """A module of the design, named by its place in the hierarchy, and its resources, its children's included."""

    name: str
    used: Capacity


def count(cells: dict[str, int]) -> Capacity:
    """Primitive cell counts as resources."""
    return Capacity(
        lut=sum(_LUTS.get(cell, 0) * number for cell, number in cells.items()),
        ff=sum(cells.get(cell, 0) for cell in _FFS),
        dsp=cells.get("DSP48E1", 0),
        bram36=sum(_BRAMS.get(cell, 0) * number for cell, number in cells.items()),
    )


def synthesise(verilog: str, top: str, command: str, directory: Path) -> list[Unit]:
    """Maps `verilog` (a file in `directory`) with the yosys `command`, hierarchy kept. The first unit is `top`.

    Cross-boundary optimisation is therefore missing: counts are upper bounds. Raises YosysError.
    """
    yosys.run(
        "synthesis", f"read_verilog {verilog}\n{command} -top {top}\ntee -q -o cells.json stat -json\n", directory
    )
    text = (directory / "cells.json").read_text()
    modules: dict[str, Any] = json.loads(text)["modules"]
    return _units({name.lstrip("\\"): module["num_cells_by_type"] for name, module in modules.items()}, top)


def _units(modules: dict[str, dict[str, int]], top: str) -> list[Unit]:
    totals: dict[str, dict[str, int]] = {}

    def total(name: str) -> dict[str, int]:
        if name not in totals:
            sums: dict[str, int] = {}
            for cell, number in modules[name].items():
                child = cell.lstrip("\\")
                parts = total(child) if child in modules else {cell: 1}
                for part, times in parts.items():
                    sums[part] = sums.get(part, 0) + times * number
            totals[name] = sums
        return totals[name]

    return [Unit(name, count(total(name))) for name in sorted(modules, key=lambda name: (name != top, name))]

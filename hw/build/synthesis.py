"""Synthesis report by yosys: what every unit takes of the part's LUTs, registers, multipliers and memories."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hw.build import yosys

__all__ = [
    "ECP5",
    "GENERIC",
    "LIBRARY",
    "SERIES7",
    "Counts",
    "Family",
    "Unit",
    "count",
    "liberty",
    "synthesise",
]

Counts = dict[str, float]
"""Resource -> how many."""


@dataclass(frozen=True)
class Family:
    """How yosys maps to a family of parts, and what its cells are made of."""

    columns: Mapping[str, str]  # resource -> what a table calls it
    commands: str  # from a design whose kept units are marked to mapped cells; {top} is the top
    resource: Callable[[str], tuple[str, float] | None]  # of a cell type: which, how many
    library: str = ""  # Liberty file in the design's directory that has the cells' areas


# 7-series cells in LUTs (Xilinx UG474): a RAM32M, RAM64M or RAM128X1D takes four LUTs of a SLICEM, and an inverter
# that nothing absorbs is a LUT1
_SERIES7_LUTS = {
    **{f"LUT{n}": 1 for n in range(1, 7)},
    "INV": 1, "SRL16E": 1, "SRLC16E": 1, "SRLC32E": 1, "RAM32X1S": 1, "RAM64X1S": 1, "RAM32X1D": 2, "RAM64X1D": 2,
    "RAM128X1S": 2, "RAM128X1D": 4, "RAM256X1S": 4, "RAM32M": 4, "RAM64M": 4,
}  # fmt: skip
_SERIES7_CELLS: dict[str, tuple[str, float]] = {
    **{cell: ("lut", number) for cell, number in _SERIES7_LUTS.items()},
    **{f"FD{kind}E{edge}": ("ff", 1) for kind in "RSCP" for edge in ("", "_1")},
    "DSP48E1": ("dsp", 1),
    "RAMB36E1": ("bram36", 1),
    "RAMB18E1": ("bram36", 0.5),
}


def _generic_cell(cell: str) -> tuple[str, float] | None:
    if cell == "$lut":
        return "lut", 1
    if cell.startswith("$_") and "DFF" in cell:
        return "ff", 1
    return ("multiplier", 1) if cell == "$__multiplier" else None


SERIES7 = Family(
    columns={"lut": "LUT", "ff": "FF", "dsp": "DSP48E1", "bram36": "BRAM36"},
    # synth_xilinx with ABC in place of ABC9, which in the WebAssembly build takes ten times as long to the same
    # number of LUTs within 3 % (measured on the accelerator: 607 s and 55 s). It refuses a tristate without pads, such
    # as a shell's to the Ethernet PHY, so those become logic first, and the assertions that come with it go again
    commands="""\
proc
tribuf -formal
chformal -remove
synth_xilinx -family xc7 -top {top} -flatten -noiopad -noclkbuf -run begin:map_luts
opt_expr -mux_undef -noclkinv
abc -luts 2:2,3,6:5,10,20
clean
xilinx_srl -fixed -minlen 3
techmap -map +/xilinx/lut_map.v -map +/xilinx/cells_map.v -D LUT_WIDTH=6
xilinx_dffopt
opt_lut_ins -tech xilinx
clean
""",
    resource=_SERIES7_CELLS.get,
)
"""Xilinx 7-series."""

# ECP5 cells in LUT4s (Lattice FPGA-DS-02012): a CCU2C is two with their carries; a 16 x 4 memory takes the four LUTs it
# is read from and the two of the slice that holds its write port
_ECP5_CELLS: dict[str, tuple[str, float]] = {
    "LUT4": ("lut", 1), "INV": ("lut", 1), "CCU2C": ("lut", 2), "TRELLIS_DPR16X4": ("lut", 6), "TRELLIS_FF": ("ff", 1),
    "MULT18X18D": ("dsp", 1), "DP16KD": ("ebr", 1), "PDPW16KD": ("ebr", 1),
}  # fmt: skip

ECP5 = Family(
    columns={"lut": "LUT4", "ff": "FF", "dsp": "MULT18X18D", "ebr": "EBR"},
    commands="synth_ecp5 -noabc9 -noiopad -top {top}\n",
    resource=_ECP5_CELLS.get,
)
"""Lattice ECP5; EBRs are its 18 kbit memories."""

LIBRARY = "cells.lib"  # copy of a user's Liberty file: yosys sees only its working directory


def liberty(is_macro: Callable[[str], bool]) -> Family:
    """A process whose Liberty file is there as `LIBRARY`; cells that `is_macro` knows are memories without an area."""
    return Family(
        columns={"area": "area", "cell": "cells", "macro": "SRAM macros"},
        commands=f"""\
synth -top {{top}} -flatten
dfflibmap -liberty {LIBRARY}
abc -liberty {LIBRARY}
opt_clean
""",
        resource=lambda cell: ("macro", 1) if is_macro(cell) else None if cell.startswith("$") else ("cell", 1),
        library=LIBRARY,
    )


GENERIC = Family(
    columns={"lut": "LUT6", "ff": "FF", "multiplier": "multipliers", "memory": "memory bits"},
    commands="""\
proc
flatten
opt
wreduce
peepopt
opt_clean
tee -q -o memories.json stat -json
memory -nomap
chtype -set $__multiplier t:$mul
alumacc
share
opt -full
techmap
opt -fast
abc -lut 6
opt_clean
""",
    resource=_generic_cell,
)
"""No family: six-input LUTs; multipliers and memories as described."""


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
    cache = directory / f"synthesis_{top}.json"
    digest = hashlib.sha256("\0".join((text, script, yosys.tool())).encode()).hexdigest()
    if cache.exists():
        saved = json.loads(cache.read_text())
        if saved["digest"] == digest:
            return [Unit(**unit) for unit in saved["units"]]
    yosys.run(f"synthesis_{top}", script, directory, watch)
    units = _units(_cells(directory, family), top)
    cache.write_text(json.dumps({"digest": digest, "units": [asdict(unit) for unit in units]}, indent=1) + "\n")
    for scratch in ("cells.json", "memories.json"):
        (directory / scratch).unlink(missing_ok=True)
    return units


def _script(sources: Sequence[str], top: str, family: Family, kept: list[str]) -> str:
    marks = "".join(f"setattr -mod -set keep_hierarchy 1 {name}\n" for name in kept)
    reads = "".join(f"read_{'rtlil' if name.endswith('.il') else 'verilog'} {name}\n" for name in sources)
    # yosys would read again, and so undo, every module kept that an instance of a vendor's cell was flattened into
    once = "setattr -unset reprocess_after */t:*\n"
    areas = f" -liberty {family.library}" if family.library else ""
    return (
        f"{reads}hierarchy -top {top}\n{once}{marks}{family.commands.format(top=top)}"
        f"tee -q -o cells.json stat -json{areas}\n"
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
        if family.library:  # yosys adds the units' areas
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

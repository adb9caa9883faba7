"""What a core takes in a process: gate equivalents, memory macros counted apart, the longest path."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from hw.build import opensta, sram
from hw.build.liberty import Library, tiled
from hw.build.verilog import CORE

__all__ = ["asic_lines", "asic_report"]

_INSTANCE = re.compile(rf"\b{sram.NAME}\s*#\(\s*(.*?)\)\s*\S+\s*\(\n", re.DOTALL)
_PARAMETER = re.compile(r"\.(\w+)\(32'd(\d+)\)")


def asic_report(library: Library, area: float, macs: int, directory: Path, *, period: float) -> dict[str, Any]:
    """Of the accelerator of `macs` MACs per cycle that was mapped in `directory` to `area`; see docs/asic.md.

    `period` is of the clock that was asked for, in ns. Memory areas are null where no file has a macro for them.
    """
    gates = area / library.nand2
    memories = []
    for (address_bits, bits, mask_bits), number in sorted(_memories(directory).items(), reverse=True):
        best = tiled(library.macros, 1 << address_bits, bits, masked=mask_bits > 1)
        memories.append({
            "words": 1 << address_bits, "bits": bits, "mask_bits": mask_bits, "number": number,
            "bytes": number * (bits << address_bits) // 8,
            "macro": best and f"{number * best[0]} x {best[1].name}",
            "area": best and number * best[0] * best[1].area,
        })  # fmt: skip
    areas = [memory["area"] for memory in memories]
    path = opensta.longest_path(library, CORE, directory, period=period)
    missing = "OpenSTA is not installed (Debian: opensta)" if library.timed else "the library has none"
    return {
        "nand2_area": library.nand2,
        "kge": round(gates / 1000, 3),
        "kge_per_mac": round(gates / 1000 / macs, 3),
        "memory_bytes": sum(memory["bytes"] for memory in memories),
        "memory_area": sum(areas) if all(area is not None for area in areas) else None,
        "memories": memories,
        "longest_path": path,
        "no_path": "" if path else missing,
    }


def asic_lines(report: dict[str, Any]) -> list[str]:
    """What `asic_report` found, in words."""
    path, area = report["longest_path"], report["memory_area"]
    memory = f"{report['memory_bytes'] / 1024:.4g} KiB of memory in macros"
    logic = f"{report['kge']:,.1f} kGE of logic (NAND2 of {report['nand2_area']:g})"
    return [
        f"{logic}, {report['kge_per_mac']:.3g} kGE per MAC",
        f"{memory} of {area:,.0f}" if area is not None else f"{memory}, whose area no file given says",
        f"longest path {path['ns']:g} ns without wires and macros ({path['tool']}), {path['from']} to {path['to']}"
        if path
        else f"no delays: {report['no_path']}",
    ]


def _memories(directory: Path) -> Counter[tuple[int, int, int]]:
    """(address bits, data bits, mask bits) of the instances in the core's Verilog."""
    found: Counter[tuple[int, int, int]] = Counter()
    for instance in _INSTANCE.findall((directory / f"{CORE}.v").read_text()):
        sizes = {name: int(value) for name, value in _PARAMETER.findall(instance)}
        found[sizes["ADDRESS_BITS"], sizes["DATA_BITS"], sizes["MASK_BITS"]] += 1
    return found

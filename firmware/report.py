"""The run report: what ran, how long it took, whether it was right; as `run.json` and as tables."""

from __future__ import annotations

import json
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from firmware.compiler import Program
from firmware.profile import Profile
from firmware.roofline import Point, as_json, print_roofline, roofline, total
from firmware.roofline_plot import roofline_figure

__all__ = ["add_roofline", "build_report", "draw_roofline", "first_difference", "print_report", "write_json"]

_SHOWN = 10  # images whose classes are printed


def first_difference(name: str, expected: NDArray[Any], actual: NDArray[Any]) -> dict[str, Any] | None:
    """Where `actual` first departs from `expected`, in memory order; None if it does not."""
    wrong = np.argwhere(expected != actual)
    if not len(wrong):
        return None
    index = tuple(int(i) for i in wrong[0])
    return {
        "tensor": name,
        "index": list(index),
        "expected": int(expected[index]),
        "actual": int(actual[index]),
        "different": len(wrong),
    }


def build_report(device: str, images: int, profile: Profile) -> dict[str, Any]:
    """The content of `run.json`; cycle figures are absent for a device without cycles (golden)."""
    report: dict[str, Any] = {"device": device, "images": images}
    if not profile.cycles:
        return report
    report |= {
        "figures": "simulated" if device.startswith("sim:") else "measured by the device's counters",
        "cycles": profile.cycles,
        "cycles_per_image": profile.cycles / profile.images,
        "macs_per_image": profile.macs // profile.images,
        "macs_per_cycle": profile.macs_per_cycle,
        "utilisation": profile.utilisation,
        "occupancy": profile.occupancy,
        "instructions": profile.instructions,
        "engines": {
            engine.name: {
                "busy": engine.busy / profile.cycles,
                "wait_in": engine.wait_in / profile.cycles,
                "wait_out": engine.wait_out / profile.cycles,
            }
            for engine in profile.engines
        },
        "layers": [
            {
                "name": layer.name,
                "op": layer.op,
                "cycles": layer.cycles,
                "macs": layer.macs,
                "utilisation": layer.macs / (layer.cycles * profile.macs_per_cycle) if layer.cycles else 0.0,
            }
            for layer in profile.layers
        ],
    }
    return report


def add_roofline(report: dict[str, Any], program: Program, profile: Profile, runs: int) -> None:
    """Adds the roofline of every layer, for one of the `runs` runs."""
    points = roofline(program, profile.layers, runs=runs)
    whole = total(points, cycles=profile.cycles // runs)
    config = program.config
    bandwidth = config.word_bytes / program.memory.word_cycles(config.word_bytes)
    report["roofline"] = {
        "macs_per_cycle": config.macs_per_cycle,
        "bytes_per_cycle": bandwidth,
        "elements_per_cycle": config.lanes,
        "total": as_json(whole),
        "layers": [as_json(point) for point in points],
    }


def draw_roofline(report: dict[str, Any]) -> Any:
    """The plot of the roofline of a report that has one, a matplotlib Figure."""
    peak, bandwidth = report["roofline"]["macs_per_cycle"], report["roofline"]["bytes_per_cycle"]
    return roofline_figure(*_points(report), peak=peak, bandwidth=bandwidth, figures=report["figures"])


def _points(report: dict[str, Any]) -> tuple[list[Point], Point]:
    """Of every layer, and of the whole program."""
    layers, whole = report["roofline"]["layers"], report["roofline"]["total"]
    first, *others = (Point(**{name: row[name] for name in Point.__dataclass_fields__}) for row in (whole, *layers))
    return others, first


def write_json(report: dict[str, Any], file: BinaryIO) -> None:
    """Writes the report."""
    file.write(json.dumps(report, indent=2).encode() + b"\n")


def print_report(report: dict[str, Any], console: Console, *, layers: bool = True) -> None:
    """Layer and engine tables, then the totals."""
    if "cycles" in report:
        if layers and report["layers"]:
            table = Table(title=f"layers, {report['images']} images ({report['figures']})")
            for heading in ("layer", "operator", "cycles", "MACs", "utilisation"):
                table.add_column(heading, justify="left" if heading in {"layer", "operator"} else "right")
            for layer in report["layers"]:
                share = f"{layer['utilisation']:.1%}" if layer["macs"] else ""
                table.add_row(layer["name"], layer["op"], f"{layer['cycles']:,}", f"{layer['macs']:,}", share)
            console.print(table)
        table = Table(title="engines, share of all cycles")
        for heading in ("engine", "busy", "waiting for input", "waiting for output"):
            table.add_column(heading, justify="left" if heading == "engine" else "right")
        for name, engine in report["engines"].items():
            table.add_row(name, *(f"{engine[part]:.1%}" for part in ("busy", "wait_in", "wait_out")))
        console.print(table)
        console.print(
            f"{report['cycles_per_image']:,.0f} cycles and {report['macs_per_image']:,} MACs per image; utilisation "
            f"{report['utilisation']:.1%} of {report['macs_per_cycle']} MACs per cycle ({report['figures']})"
        )
    if "roofline" in report:
        print_roofline(*_points(report), console, bandwidth=report["roofline"]["bytes_per_cycle"])
    for row in report.get("classes", [])[:_SHOWN]:
        best = ", ".join(f"{found['name']} {found['probability']:.1%}" for found in row["top"])
        console.print(f"{row['image']}: {best}", highlight=False, markup=False)
    if len(report.get("classes", [])) > _SHOWN:
        console.print(f"and {len(report['classes']) - _SHOWN} more images, which --report writes")
    if "features" in report:
        width, file = report["features"]["width"], report["features"]["file"]
        where = f"written to {file}" if file else "--logits FILE writes them"
        console.print(f"{width} features of each image, integers times the model's logit_scale: {where}")
    if "accuracy" in report:
        console.print(f"accuracy {report['accuracy']:.2%} on {report['images']} images")
    if "bit_exact" in report:
        console.print(f"bit_exact: {str(report['bit_exact']).lower()}")
        if not report["bit_exact"]:
            first = report["first_difference"]
            console.print(
                f"first difference: tensor {first['tensor']}, index {first['index']}, expected {first['expected']}, "
                f"actual {first['actual']} ({first['different']} elements differ)"
            )

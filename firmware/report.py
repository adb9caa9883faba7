"""The run report: what ran, how long it took, whether it was right; as `run.json` and as tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from firmware.compiler import Program
from firmware.devices import Device
from firmware.roofline import Point, as_json, print_roofline, roofline, total
from firmware.roofline_plot import roofline_figure
from firmware.screen import show

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


def build_report(name: str, images: int, device: Device) -> dict[str, Any]:
    """What `device`, called `name`, did with its latest images; no cycle figures where it has none (golden).

    docs/reference/run.md has the keys.
    """
    report: dict[str, Any] = {"device": name, "images": images}
    profile, board = device.profile(), device.board
    if not profile.cycles:
        return report
    if board is not None:
        report |= {
            "board": board.name,
            "clock_mhz": board.clock_hz / 1e6,
            "images_per_second": board.clock_hz * profile.images / profile.cycles,
        }
    report |= {
        "figures": device.figures,
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


def add_roofline(report: dict[str, Any], program: Program, device: Device, runs: int) -> None:
    """Adds the roofline of every layer, for one of the `runs` runs of `device`."""
    profile = device.profile()
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
    """Layer and engine tables, then the totals, then what the images show."""
    if "cycles" in report:
        _print_cycles(report, console, layers)
    if "roofline" in report:
        print_roofline(*_points(report), console, bandwidth=report["roofline"]["bytes_per_cycle"])
    if report.get("classes"):
        _print_classes(report["classes"], console)
    if "features" in report:
        width, file = report["features"]["width"], report["features"]["file"]
        where = f"written to {file}" if file else "--logits FILE writes them"
        _say(console, f"{width} features of each image, integers times the model's logit_scale: {where}")
    if "accuracy" in report:
        _say(console, f"accuracy {report['accuracy']:.2%} on {report['images']} images")
    if "bit_exact" in report:
        _say(console, f"bit_exact: {str(report['bit_exact']).lower()}")
        if not report["bit_exact"]:
            first = report["first_difference"]
            _say(
                console,
                f"first difference: tensor {first['tensor']}, index {first['index']}, expected {first['expected']}, "
                f"actual {first['actual']} ({first['different']} elements differ)",
            )


def _say(console: Console, text: str) -> None:
    console.print(text, soft_wrap=True, markup=False)


def _table(title: str, left: Sequence[str], right: Sequence[str], **style: Any) -> Table:
    """An empty table of texts on the left and numbers on the right."""
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), **style)
    for heading in left:
        table.add_column(heading)
    for heading in right:
        table.add_column(heading, justify="right")
    return table


def _print_cycles(report: dict[str, Any], console: Console, layers: bool) -> None:
    if layers and report["layers"]:
        title = f"layers, {report['images']} images ({report['figures']})"
        table = _table(title, ("layer", "operator"), ("cycles", "MACs", "utilisation"))
        for layer in report["layers"]:
            share = f"{layer['utilisation']:.1%}" if layer["macs"] else ""
            table.add_row(layer["name"], layer["op"], f"{layer['cycles']:,}", f"{layer['macs']:,}", share)
        show(table, console)
    table = _table("engines, share of all cycles", ("engine",), ("busy", "waiting for input", "waiting for output"))
    for name, engine in report["engines"].items():
        table.add_row(name, *(f"{engine[part]:.1%}" for part in ("busy", "wait_in", "wait_out")))
    show(table, console)
    pace = ""
    if "images_per_second" in report:
        pace = f"{report['images_per_second']:,.2f} images/s at {report['clock_mhz']:g} MHz of {report['board']}; "
    _say(
        console,
        f"{report['cycles_per_image']:,.0f} cycles and {report['macs_per_image']:,} MACs per image, {pace}utilisation "
        f"{report['utilisation']:.1%} of {report['macs_per_cycle']} MACs per cycle ({report['figures']})",
    )


def _print_classes(rows: Sequence[dict[str, Any]], console: Console) -> None:
    """Of one image its likeliest classes; of several a line each, with the likeliest and the names of the others."""
    if len(rows) == 1:
        table = _table(escape(rows[0]["image"]), ("class",), ("probability", "logit"), title_justify="left")
        for found in rows[0]["top"]:
            table.add_row(escape(found["name"]), f"{found['probability']:.1%}", f"{found['integer']:,}")
        show(table, console)
        return
    table = _table("likeliest classes", ("image", "class"), ("probability", "logit"), title_justify="left")
    table.add_column("then")
    for row in rows[:_SHOWN]:
        first, *others = row["top"]
        then = ", ".join(f"{found['name']} {found['probability']:.1%}" for found in others)
        table.add_row(
            escape(row["image"]), escape(first["name"]), f"{first['probability']:.1%}", f"{first['integer']:,}",
            escape(then),
        )  # fmt: skip
    show(table, console)
    if len(rows) > _SHOWN:
        _say(console, f"and {len(rows) - _SHOWN} more images, which --json writes")

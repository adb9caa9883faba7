"""DeiT on the default accelerator: what is run, and the figures that it must reach."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from bench import networks, page
from bench.anchors import ANCHORS
from bench.runs import BOARD, DSPS, Case, Result, Row, utilisation

__all__ = ["CASES", "markdown", "register", "rows"]

CASES = {
    case.name: case
    for case in (
        Case(name="tiny", model="deit_tiny_patch16_224"),
        Case(name="tiny-8", model="deit_tiny_patch16_224", attention_bits=8),
        Case(name="tiny-batch", model="deit_tiny_patch16_224", batch=4),
        Case(name="small", model="deit_small_patch16_224"),
        Case(name="tiny-random", model="deit_tiny_patch16_224", options="random=1"),
        Case(name="tiny-8-random", model="deit_tiny_patch16_224", attention_bits=8, options="random=2"),
    )
}


def rows(results: Sequence[Result]) -> list[Row]:
    """The table: every figure asked for, measured or not."""
    whole = not any(result.case.depth for result in results)
    tiny = next((result for result in results if result.case.name == "tiny"), None)
    peak = results[0].macs_per_cycle / DSPS if results else None
    errors = [abs(r.predicted / r.cycles - 1) for r in results if r.predicted is not None]
    layer_errors = [abs(e) for r in results for e in r.layer_errors.values()]
    return [
        utilisation("utilisation, DeiT-T, 16-bit attention", "tiny", results, 0.90, 0.92),
        utilisation("utilisation, DeiT-T, 8-bit attention", "tiny-8", results, 0.96, 0.985),
        utilisation("utilisation, DeiT-T, 16-bit attention, batch of 4", "tiny-batch", results, 0.91, 0.924),
        utilisation("utilisation, DeiT-S, 16-bit attention", "small", results, 0.94, 0.955),
        Row("array MACs per cycle / DSPs of the part", peak, 1.42, 1.7, lambda value: f"{value:.2f}"),
        Row("cycle model against RTL, total, worst case", max(errors, default=None), 0.02, 0.005,
            lambda value: f"{value:.2%}", more_is_better=False),
        Row("cycle model against RTL, layers, worst case", max(layer_errors, default=None), 0.02, 0.005,
            lambda value: f"{value:.2%}", more_is_better=False),
        Row("seconds to simulate one DeiT-T image", tiny.wall if tiny else None, 120, 30,
            lambda value: f"{value:.0f} s", more_is_better=False, whole=whole),
    ]  # fmt: skip


def markdown(results: Sequence[Result]) -> str:
    """Three tables: bars, runs, published figures."""
    return "\n\n".join([networks.figures(rows(results)), networks.runs(results), _published(results)])


def _published(results: Sequence[Result]) -> str:
    """Beside published accelerators."""
    body = [
        (
            "this project, simulated", BOARD, r.case.text, f"{r.utilisation:.1%}",
            f"{2 * r.utilisation * r.macs_per_cycle / DSPS:.2f}", f"of all {DSPS} DSPs of the part",
        )
        for r in results if not r.case.options
    ]  # fmt: skip
    for a in ANCHORS:
        share = "" if a.utilisation is None else f"{a.utilisation:.1%}"
        density = "" if a.ops_per_dsp is None else f"{a.ops_per_dsp:.2f}"
        body.append((a.work, a.device, a.network, share, density, a.note))
    return page.table(("work", "device", "network", "utilisation", "operations per cycle and DSP", "remark"), body)


def register(commands: Any) -> None:
    """Adds the command's grammar to argparse's sub-parsers."""
    text = "DeiT-T and DeiT-S against the bars and the published figures"
    networks.add_command(commands, "deit", text, tuple(CASES), _command)


def _command(arguments: argparse.Namespace) -> int:
    """1 if any logit differs from the golden model's."""
    results = networks.run(networks.chosen(CASES, arguments), arguments.seed)
    content = {"figures": networks.figures_json(rows(results)), "runs": [asdict(result) for result in results]}
    page.publish(arguments, markdown(results), content)
    return 0 if all(result.bit_exact for result in results) else 1

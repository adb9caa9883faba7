"""DeiT on the default accelerator: what is run, and the figures that it must reach."""

from __future__ import annotations

from collections.abc import Sequence

from bench.runs import DSPS, Case, Result, Row, utilisation

__all__ = ["CASES", "rows"]

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

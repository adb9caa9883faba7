"""Results as Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence

from bench.anchors import ANCHORS
from bench.runs import BOARD, DSPS, Result, Row
from bench.swin import BlockResult, Estimate

__all__ = ["blocks", "estimates", "figures", "published", "runs"]


def _table(head: tuple[str, ...], body: list[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (head, tuple("---" for _ in head), *body)]
    return "\n".join(lines)


def figures(table: Sequence[Row]) -> str:
    """Figures, bars and verdicts."""
    body = [
        (r.figure, r.text(r.bar), r.text(r.stretch), "" if r.value is None else r.text(r.value), r.verdict)
        for r in table
    ]
    return _table(("figure", "bar", "stretch", "measured", "verdict"), body)


def runs(results: Sequence[Result]) -> str:
    """Whole networks on the simulated gateware."""
    head = (
        "case",
        "what",
        "bit-exact",
        "cycles",
        "utilisation",
        "array busy",
        "images/s at 100 MHz",
        "wall s",
        "CPU s",
    )
    body = [
        (
            r.case.name, r.case.text, "yes" if r.bit_exact else "NO", f"{r.cycles:,}", f"{r.utilisation:.4f}",
            f"{r.occupancy:.4f}", f"{r.frames:.2f}", f"{r.wall:.0f}", f"{r.cpu:.0f}",
        )
        for r in results
    ]  # fmt: skip
    return _table(head, body)


def published(results: Sequence[Result]) -> str:
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
    return _table(("work", "device", "network", "utilisation", "operations per cycle and DSP", "remark"), body)


def blocks(results: Sequence[BlockResult]) -> str:
    """Blocks alone on the simulated gateware."""
    body = [
        (
            r.blocks.name, r.blocks.text, "yes" if r.bit_exact else "NO", f"{r.cycles:,}",
            f"{r.predicted / r.cycles - 1:+.2%}",
        )
        for r in results
    ]  # fmt: skip
    return _table(("case", "embedding, a plain and a shifted block", "bit-exact", "cycles", "cycle model"), body)


def estimates(found: Sequence[Estimate]) -> str:
    """Whole networks by the cycle model."""
    head = ("case", "what", "cycles", "utilisation", "array busy", "images/s at 100 MHz", "instructions", "compiled in")
    body = [
        (
            e.case.name, e.case.text, f"{e.cycles:,}", f"{e.utilisation:.4f}", f"{e.occupancy:.4f}", f"{e.frames:.2f}",
            f"{e.instructions:,}", f"{e.seconds:.0f} s",
        )
        for e in found
    ]  # fmt: skip
    return _table(head, body)

"""The page's tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from bench import page
from bench.trust.cover import FAULTS, instruction_points
from bench.trust.ledger import Ledger
from hw.spec.isa import Engine

__all__ = ["content", "text"]


def text(ledgers: Sequence[Ledger]) -> str:
    """What was run and what came of it; then what the programs covered, if there were any."""
    parts = [_campaigns(ledgers), *map(_kinds, ledgers)]
    covered = sum((Counter(ledger.counts) for ledger in ledgers), Counter())
    if any(name.startswith("cover ") for name in covered):
        parts += [_instructions(covered), _faults(covered)]
    return "\n\n".join(parts)


def _campaigns(ledgers: Sequence[Ledger]) -> str:
    head = (
        "campaign", "cases", "on these sources", "counted", "bar", "found", "unexplained", "hours of a process",
        "most memory",
    )  # fmt: skip
    return page.table(head, [_row(ledger) for ledger in ledgers])


def _row(ledger: Ledger) -> list[str]:
    campaign, (whole, present) = ledger.campaign, ledger.cases
    peak = max((block.peak for block in ledger.blocks), default=0)
    return [
        f"`{campaign.name}`: {campaign.title}", f"{whole:,}", f"{present:,}",
        f"{ledger.counts[campaign.counted]:,} {campaign.counted}", f"{campaign.goal:,}", str(ledger.found),
        str(len(ledger.failures)), f"{sum(block.seconds for block in ledger.blocks) / 3600:.2f}",
        f"{peak / 2**20:,.0f} MiB",
    ]  # fmt: skip


def _kinds(ledger: Ledger) -> str:
    own = {name: count for name, count in sorted(ledger.counts.items()) if not name.startswith("cover ")}
    last = max((block.first + block.cases for block in ledger.blocks), default=0)
    listed = "; ".join(f"{name}: {count:,}" for name, count in own.items()) or "nothing yet"
    return f"`{ledger.campaign.name}`, seeds below {last:,}: {listed}."


def _instructions(covered: Counter[str]) -> str:
    points: dict[str, list[str]] = {}
    for op, point in instruction_points():
        points.setdefault(op.name, []).append(point)
    body = []
    for name, own in points.items():
        missing = [point for point in own if not covered[f"cover op: {name} {point}"]]
        hit = f"{len(own) - len(missing)} of {len(own)}"
        body.append([name, f"{covered[f'cover count: {name}']:,}", hit, ", ".join(f"`{point}`" for point in missing)])
    return page.table(("instruction", "executed and compared", "cover points", "missing"), body)


def _faults(covered: Counter[str]) -> str:
    body = [[fault, who, f"{covered[f'cover fault: {fault} {who}']:,}"] for fault, who in FAULTS]
    body += [
        ["RESET", f"while {e.name} executes", f"{covered[f'cover reset: while {e.name} executes']:,}"] for e in Engine
    ]
    return page.table(("fault", "of", "times, as the model has it"), body)


def content(ledgers: Sequence[Ledger]) -> dict[str, Any]:
    """The report."""
    return {"campaigns": [
        {"name": each.campaign.name, "counts": dict(each.counts), "blocks": [asdict(block) for block in each.blocks]}
        for each in ledgers
    ]}  # fmt: skip

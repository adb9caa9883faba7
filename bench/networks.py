"""What the benchmarks of whole networks share: their grammar, the loop over cases, tables, and where results go."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from bench import page
from bench.runs import CLOCK, Case, Result, Row, run_case

__all__ = ["add_command", "chosen", "figures", "figures_json", "run", "runs", "say"]


def add_command(
    commands: Any, name: str, text: str, cases: Collection[str], function: Callable[[argparse.Namespace], int]
) -> None:
    """Adds the command's grammar to argparse's sub-parsers."""
    command = page.add_command(commands, name, text, function)
    command.add_argument("--quick", action="store_true", help="two blocks, or two of each stage, instead of all")
    command.add_argument("--only", nargs="+", choices=cases, metavar="CASE", help=f"some of {', '.join(cases)}")
    command.add_argument("--seed", type=int, default=0)


def chosen(cases: Mapping[str, Case], arguments: argparse.Namespace) -> list[Case]:
    """The cases that the command line asks for."""
    found = [case for name, case in cases.items() if name in (arguments.only or cases)]
    return [case.quick() for case in found] if arguments.quick else found


def say(text: str) -> None:
    """Progress, apart from the results."""
    print(text, file=sys.stderr, flush=True)


def run(cases: Iterable[Case], seed: int) -> list[Result]:
    """Simulates the cases one after the other."""
    results = []
    for case in cases:
        say(f"{case.name}: {case.text} ...")
        result = run_case(case, seed)
        say(
            f"  {'bit-exact' if result.bit_exact else 'NOT bit-exact'}, {result.cycles:,} cycles, utilisation "
            f"{result.utilisation:.4f}, {result.wall:.0f} s ({result.cycles / result.cpu / 1e3:.0f} k cycles per CPU "
            "second)"
        )
        results.append(result)
    return results


def figures(table: Sequence[Row]) -> str:
    """Figures, bars and verdicts, as Markdown."""
    body = [
        (r.figure, *("" if v is None else r.text(v) for v in (r.bar, r.stretch, r.value)), r.verdict) for r in table
    ]
    return page.table(("figure", "bar", "stretch", "found", "verdict"), body)


def figures_json(table: Sequence[Row]) -> list[dict[str, Any]]:
    """The same for a report."""
    return [
        {"figure": r.figure, "value": r.value, "bar": r.bar, "stretch": r.stretch, "verdict": r.verdict} for r in table
    ]


def runs(results: Sequence[Result]) -> str:
    """Whole networks on the simulated gateware, as Markdown."""
    head = ("case", "what", "bit-exact", "cycles", "utilisation", "array busy",
            f"images/s at {CLOCK / 1e6:g} MHz", "wall s", "CPU s")  # fmt: skip
    body = [
        (
            r.case.name, r.case.text, "yes" if r.bit_exact else "NO", f"{r.cycles:,}", f"{r.utilisation:.4f}",
            f"{r.occupancy:.4f}", f"{r.frames:.2f}", f"{r.wall:.0f}", f"{r.cpu:.0f}",
        )
        for r in results
    ]  # fmt: skip
    return page.table(head, body)

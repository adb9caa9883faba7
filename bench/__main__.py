"""Command line: python -m bench deit."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.anchors import ANCHORS
from bench.deit import BOARD, CASES, DSPS, Result, Row, rows, run_case
from firmware.report import write_json

__all__ = ["main", "markdown"]

_BEGIN, _END = "<!-- bench deit: begin -->", "<!-- bench deit: end -->"


def _parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m bench", description="whole networks on the simulated gateware")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    deit = commands.add_parser("deit", help="DeiT-T and DeiT-S against the bars and the published figures")
    deit.add_argument("--quick", action="store_true", help="two blocks instead of twelve")
    deit.add_argument("--only", nargs="+", choices=CASES, metavar="CASE", help=f"some of {', '.join(CASES)}")
    deit.add_argument("--seed", type=int, default=0)
    deit.add_argument("--report", metavar="FILE", help="write all figures, JSON")
    deit.add_argument("--docs", metavar="FILE", help="put the tables into FILE, between its two markers")
    return top


def _table(head: tuple[str, ...], body: list[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (head, tuple("---" for _ in head), *body)]
    return "\n".join(lines)


def _figures(table: list[Row]) -> str:
    body = [
        (r.figure, r.text(r.bar), r.text(r.stretch), "" if r.value is None else r.text(r.value), r.verdict)
        for r in table
    ]
    return _table(("figure", "bar", "stretch", "measured", "verdict"), body)


def _runs(results: list[Result]) -> str:
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


def _published(results: list[Result]) -> str:
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


def markdown(results: list[Result]) -> str:
    """The three tables: bars, runs, published figures."""
    return "\n\n".join([_figures(rows(results)), _runs(results), _published(results)])


def _deit(arguments: argparse.Namespace) -> int:
    if arguments.docs:
        _check_markers(Path(arguments.docs))
    results = []
    for name in arguments.only or CASES:
        case = CASES[name].quick() if arguments.quick else CASES[name]
        print(f"{name}: {case.text} ...", file=sys.stderr, flush=True)
        result = run_case(case, arguments.seed)
        verdict = "bit-exact" if result.bit_exact else "NOT bit-exact"
        print(
            f"  {verdict}, {result.cycles:,} cycles, utilisation {result.utilisation:.4f}, {result.wall:.0f} s "
            f"({result.cycles / result.cpu / 1e3:.0f} k cycles per CPU second)",
            file=sys.stderr, flush=True,
        )  # fmt: skip
        results.append(result)
    text = markdown(results)
    print(text)
    if arguments.report:
        write_json(_json(results), arguments.report)
    if arguments.docs:
        _insert(Path(arguments.docs), text)
    return 0 if all(result.bit_exact for result in results) else 1


def _json(results: list[Result]) -> dict[str, Any]:
    figures = [{"figure": r.figure, "value": r.value, "bar": r.bar, "stretch": r.stretch, "verdict": r.verdict}
               for r in rows(results)]  # fmt: skip
    return {"figures": figures, "runs": [asdict(result) for result in results]}


def _check_markers(path: Path) -> None:
    """Before anything is simulated: SystemExit if the tables have no place in `path`."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if not 0 <= text.find(_BEGIN) < text.find(_END):
        raise SystemExit(f"error: {path} lacks the lines {_BEGIN} and {_END}")


def _insert(path: Path, text: str) -> None:
    """Replaces what is between the markers."""
    old = path.read_text(encoding="utf-8")
    head, rest = old.split(_BEGIN, 1)
    path.write_text(f"{head}{_BEGIN}\n\n{text}\n\n{_END}{rest.split(_END, 1)[1]}", encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Runs one benchmark; 1 if any logit differs from the golden model."""
    return _deit(_parser().parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())

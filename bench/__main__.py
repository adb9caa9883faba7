"""Command line: python -m bench deit | golden."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import golden
from bench.anchors import ANCHORS
from bench.deit import BOARD, CASES, DSPS, Result, Row, rows, run_case
from firmware.report import write_json

__all__ = ["main", "markdown"]


def _markers(bench: str) -> tuple[str, str]:
    """The lines between which a page keeps a benchmark's tables."""
    return f"<!-- bench {bench}: begin -->", f"<!-- bench {bench}: end -->"


def _parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m bench", description="whole networks, simulated and on the host")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    deit = commands.add_parser("deit", help="DeiT-T and DeiT-S against the bars and the published figures")
    deit.add_argument("--quick", action="store_true", help="two blocks instead of twelve")
    deit.add_argument("--only", nargs="+", choices=CASES, metavar="CASE", help=f"some of {', '.join(CASES)}")
    deit.add_argument("--seed", type=int, default=0)
    deit.add_argument("--report", metavar="FILE", help="write all figures, JSON")
    deit.set_defaults(function=_deit)
    host = commands.add_parser("golden", help="the golden model against PyTorch's float32, on this machine")
    host.add_argument("--only", nargs="+", choices=golden.MODELS, default=golden.MODELS, metavar="MODEL")
    host.add_argument("--batch", type=int, default=8)
    host.add_argument("--rounds", type=int, default=20, help="of which the best counts")
    every = sorted({1, os.cpu_count() or 1})
    host.add_argument("--threads", type=int, nargs="+", default=every, help="default: 1, and one per processor")
    host.set_defaults(function=_golden)
    for bench in (deit, host):
        bench.add_argument("--docs", metavar="FILE", help="put the tables into FILE, between its two markers")
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
    _check_markers(arguments)
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
    _insert(arguments, text)
    return 0 if all(result.bit_exact for result in results) else 1


def _json(results: list[Result]) -> dict[str, Any]:
    figures = [{"figure": r.figure, "value": r.value, "bar": r.bar, "stretch": r.stretch, "verdict": r.verdict}
               for r in rows(results)]  # fmt: skip
    return {"figures": figures, "runs": [asdict(result) for result in results]}


def _golden(arguments: argparse.Namespace) -> int:
    """1 if the golden model is slower than the plain float32 network on any number of threads."""
    if min(arguments.batch, arguments.rounds, *arguments.threads) < 1:
        raise SystemExit("error: --batch, --rounds and --threads must be at least 1")
    _check_markers(arguments)
    body, slower = [], False
    for name in arguments.only:
        print(f"{name} ...", file=sys.stderr, flush=True)
        timings = golden.run(name, batch=arguments.batch, rounds=arguments.rounds, threads=arguments.threads)
        for threads in arguments.threads:
            ours, plain = [t.rate for t in timings if t.threads == threads][:2]
            slower |= ours < plain
        ours = {t.threads: t for t in reversed(timings) if t.runner == timings[0].runner}
        body += [
            (
                t.model, t.runner, str(t.threads), f"{t.rate:.1f}", f"{ours[t.threads].rate / t.rate:.2f}",
                f"{t.cpu / t.images * 1e3:.1f}", f"{t.cpu / t.images / (ours[t.threads].cpu / arguments.batch):.2f}",
            )
            for t in timings if t.threads in ours
        ]  # fmt: skip
    head = ("model", "runner", "threads", "images/s", "ratio", "processor ms per image", "ratio of these")
    text = f"Measured on the host: {golden.machine()}; batches of {arguments.batch}.\n\n{_table(head, body)}"
    print(text)
    _insert(arguments, text)
    return int(slower)


def _check_markers(arguments: argparse.Namespace) -> None:
    """Before anything is run: SystemExit if the tables have no place in the page."""
    if not arguments.docs:
        return
    path, (begin, end) = Path(arguments.docs), _markers(arguments.command)
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if not 0 <= text.find(begin) < text.find(end):
        raise SystemExit(f"error: {path} lacks the lines {begin} and {end}")


def _insert(arguments: argparse.Namespace, text: str) -> None:
    """Replaces what is between the page's markers."""
    if not arguments.docs:
        return
    path, (begin, end) = Path(arguments.docs), _markers(arguments.command)
    old = path.read_text(encoding="utf-8")
    head, rest = old.split(begin, 1)
    path.write_text(f"{head}{begin}\n\n{text}\n\n{end}{rest.split(end, 1)[1]}", encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Runs one benchmark; 1 if a logit differs from the golden model, or it is slower than float32."""
    parsed = _parser().parse_args(arguments)
    status: int = parsed.function(parsed)
    return status


if __name__ == "__main__":
    sys.exit(main())

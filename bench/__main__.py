"""Command line: python -m bench deit, python -m bench swin."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import deit, swin, tables
from bench.runs import Case, Result, Row, run_case
from bench.swin import estimate, run_blocks
from firmware.report import write_json

__all__ = ["main", "markdown"]

_SWIN = (*swin.CASES, *swin.BLOCKS, *swin.MODELS)


def _parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m bench", description="whole networks on the simulated gateware")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text, cases in (
        ("deit", "DeiT-T and DeiT-S against the bars and the published figures", tuple(deit.CASES)),
        ("swin", "Swin-T, blocks of it, and by the cycle model Swin-S and Swin-B", _SWIN),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("--quick", action="store_true", help="two blocks, or two of each stage, instead of all")
        command.add_argument("--only", nargs="+", choices=cases, metavar="CASE", help=f"some of {', '.join(cases)}")
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--report", metavar="FILE", help="write all figures, JSON")
        command.add_argument("--docs", metavar="FILE", help="put the tables into FILE, between its two markers")
    return top


def markdown(results: list[Result]) -> str:
    """DeiT's three tables: bars, runs, published figures."""
    return "\n\n".join([tables.figures(deit.rows(results)), tables.runs(results), tables.published(results)])


def _run(cases: Iterable[Case], arguments: argparse.Namespace) -> list[Result]:
    results = []
    for case in cases:
        print(f"{case.name}: {case.text} ...", file=sys.stderr, flush=True)
        result = run_case(case, arguments.seed)
        verdict = "bit-exact" if result.bit_exact else "NOT bit-exact"
        print(
            f"  {verdict}, {result.cycles:,} cycles, utilisation {result.utilisation:.4f}, {result.wall:.0f} s "
            f"({result.cycles / result.cpu / 1e3:.0f} k cycles per CPU second)",
            file=sys.stderr, flush=True,
        )  # fmt: skip
        results.append(result)
    return results


def _chosen(cases: dict[str, Case], arguments: argparse.Namespace) -> list[Case]:
    found = [case for name, case in cases.items() if name in (arguments.only or cases)]
    return [case.quick() for case in found] if arguments.quick else found


def _deit(arguments: argparse.Namespace) -> int:
    results = _run(_chosen(deit.CASES, arguments), arguments)
    content = {"figures": _figures(deit.rows(results)), "runs": [asdict(result) for result in results]}
    _write(arguments, markdown(results), content)
    return 0 if all(result.bit_exact for result in results) else 1


def _swin(arguments: argparse.Namespace) -> int:
    results = _run(_chosen(swin.CASES, arguments), arguments)
    blocks = []
    for name, case in swin.BLOCKS.items():
        if name in (arguments.only or swin.BLOCKS):
            print(f"{name}: {case.text} ...", file=sys.stderr, flush=True)
            blocks.append(run_blocks(case, arguments.seed))
    estimates = []
    for model in _chosen(swin.MODELS, arguments):
        print(f"{model.name}: {model.text}, cycle model ...", file=sys.stderr, flush=True)
        estimates.append(estimate(model, arguments.seed))
    table = swin.rows(results, blocks)
    parts = [tables.figures(table), tables.runs(results), tables.blocks(blocks), tables.estimates(estimates)]
    content = {
        "figures": _figures(table), "runs": [asdict(result) for result in results],
        "blocks": [asdict(block) for block in blocks], "estimates": [asdict(found) for found in estimates],
    }  # fmt: skip
    _write(arguments, "\n\n".join(parts), content)
    return 0 if all(result.bit_exact for result in [*results, *blocks]) else 1


def _figures(table: list[Row]) -> list[dict[str, Any]]:
    return [
        {"figure": r.figure, "value": r.value, "bar": r.bar, "stretch": r.stretch, "verdict": r.verdict} for r in table
    ]


def _write(arguments: argparse.Namespace, text: str, content: dict[str, Any]) -> None:
    print(text)
    if arguments.report:
        write_json(content, arguments.report)
    if arguments.docs:
        _insert(Path(arguments.docs), arguments.command, text)


def _markers(command: str) -> tuple[str, str]:
    return f"<!-- bench {command}: begin -->", f"<!-- bench {command}: end -->"


def _check_markers(path: Path, command: str) -> None:
    """Before anything is simulated: SystemExit if the tables have no place in `path`."""
    text, (begin, end) = path.read_text(encoding="utf-8") if path.is_file() else "", _markers(command)
    if not 0 <= text.find(begin) < text.find(end):
        raise SystemExit(f"error: {path} lacks the lines {begin} and {end}")


def _insert(path: Path, command: str, text: str) -> None:
    """Replaces what is between the markers."""
    begin, end = _markers(command)
    head, rest = path.read_text(encoding="utf-8").split(begin, 1)
    path.write_text(f"{head}{begin}\n\n{text}\n\n{end}{rest.split(end, 1)[1]}", encoding="utf-8")


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {"deit": _deit, "swin": _swin}


def main(arguments: list[str] | None = None) -> int:
    """Runs one benchmark; 1 if any number differs from the golden model's."""
    parsed = _parser().parse_args(arguments)
    if parsed.docs:
        _check_markers(Path(parsed.docs), parsed.command)
    return _COMMANDS[parsed.command](parsed)


if __name__ == "__main__":
    sys.exit(main())

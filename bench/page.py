"""Tables, and the place that a page keeps for a benchmark's: between two marker lines."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from firmware.files import Outputs
from firmware.report import write_json

__all__ = ["add_command", "check", "publish", "table"]


def add_command(
    commands: Any, name: str, text: str, function: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    """Adds a benchmark to argparse's sub-parsers; `function` runs it once its page is known to be right."""

    def checked(arguments: argparse.Namespace) -> int:
        if arguments.docs:
            check(arguments.docs, name)
        arguments.outputs = Outputs(arguments.report, arguments.docs)
        return function(arguments)

    command: argparse.ArgumentParser = commands.add_parser(name, help=text)
    command.set_defaults(function=checked)
    command.add_argument("--report", metavar="FILE", help="write all figures, JSON")
    command.add_argument("--docs", metavar="FILE", help="put the tables into FILE, between its two markers")
    return command


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *body))


def _markers(bench: str) -> tuple[str, str]:
    return f"<!-- bench {bench}: begin -->", f"<!-- bench {bench}: end -->"


def check(path: str | Path, bench: str) -> None:
    """Before anything is run: SystemExit if the tables of `bench` have no place in the page."""
    path, (begin, end) = Path(path), _markers(bench)
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if not 0 <= text.find(begin) < text.find(end):
        raise SystemExit(f"error: {path} lacks the lines {begin} and {end}")


def _inserted(path: str | Path, bench: str, text: str) -> str:
    """The page with `text` between the markers of `bench`."""
    path, (begin, end) = Path(path), _markers(bench)
    head, rest = path.read_text(encoding="utf-8").split(begin, 1)
    return f"{head}{begin}\n\n{text}\n\n{end}{rest.split(end, 1)[1]}"


def publish(
    arguments: argparse.Namespace, text: str, content: dict[str, Any], others: Mapping[str, tuple[str, str]] = {}
) -> None:
    """Prints the tables of a benchmark, and writes them and the report where its command line says.

    `others`: by further pages, whose markers there and what comes between them.
    """
    print(text)
    outputs: Outputs = arguments.outputs
    outputs.write(arguments.report, partial(write_json, content))
    own = [(arguments.docs, (arguments.command, text))] if arguments.docs else []
    for path, (bench, between) in [*own, *others.items()]:
        page = _inserted(path, bench, between).encode()
        outputs.write(path, lambda file, page=page: file.write(page))
    outputs.finish()

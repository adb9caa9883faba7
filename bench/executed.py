"""Which lines and branches of the Python the tests execute, by folder, from what coverage.py has written as JSON."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import page
from firmware.errors import UserError

__all__ = ["Folder", "folders", "register", "table"]

_LOW = 0.9  # of its lines and branches: a file with less is named
_COUNTS = ("num_statements", "covered_lines", "num_branches", "covered_branches")


@dataclass(frozen=True)
class Folder:
    """Of the files in one folder, or of one file: how many lines and branches there are, and how many were executed."""

    name: str
    files: int
    lines: int
    executed: int
    branches: int
    taken: int

    @property
    def share(self) -> float:
        """Of lines and branches together; 1 where there are none."""
        every = self.lines + self.branches
        return (self.executed + self.taken) / every if every else 1.0


def folders(files: Sequence[Folder], depth: int = 2) -> list[Folder]:
    """Sums over the `files` of every folder, of at most `depth` parts of a path, by name."""
    found: dict[str, list[Folder]] = {}
    for each in files:
        found.setdefault("/".join(Path(each.name).parent.parts[:depth]), []).append(each)
    return [_sum(name, own) for name, own in sorted(found.items())]


def _sum(name: str, files: Sequence[Folder]) -> Folder:
    columns = zip(*((f.files, f.lines, f.executed, f.branches, f.taken) for f in files), strict=True)
    return Folder(name, *map(sum, columns))


def _read(path: Path) -> list[Folder]:
    """The files of a report. Raises UserError if it is none, or one without branches."""
    try:
        content: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))["files"]
        found = [
            Folder(name, 1, *(int(file["summary"][count]) for count in _COUNTS))
            for name, file in sorted(content.items())
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: a report of coverage.py with branches is wanted, as JSON ({type(error).__name__}: {error})"
        ) from error
    if not found:
        raise UserError(f"{path}: not one file was measured")
    return found


def table(found: Sequence[Folder]) -> str:
    """Markdown; the last row is all of them."""
    body = [
        (f"`{f.name}`" if number < len(found) else "all", str(f.files), f"{f.lines:,}", f"{f.executed:,}",
         f"{f.branches:,}", f"{f.taken:,}", f"{f.share:.1%}")
        for number, f in enumerate((*found, _sum("all", found)))
    ]  # fmt: skip
    return page.table(("folder", "files", "lines", "executed", "branches", "taken", "share"), body)


def register(commands: Any) -> None:
    """Adds the command's grammar to argparse's sub-parsers."""
    command = page.add_command(commands, "executed", "lines and branches of the Python that tests execute", _command)
    command.add_argument("data", type=Path, metavar="DATA", help="what `coverage json` has written")


def _command(arguments: argparse.Namespace) -> int:
    files = _read(arguments.data)
    found = folders(files)
    low = sorted((f for f in files if f.share < _LOW), key=lambda f: f.share)
    named = "; ".join(f"`{f.name}` {f.share:.0%}" for f in low) or "none"
    page.publish(
        arguments, f"{table(found)}\n\nFiles below {_LOW:.0%}: {named}.", {"files": [asdict(f) for f in files]}
    )
    return 0

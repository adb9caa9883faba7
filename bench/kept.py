"""Figures found once and kept, each in a file with the digest of what decides it: stale ones are found again."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from firmware.caches import digest
from firmware.files import write

__all__ = ["Kept", "sources"]

_ROOT = Path(__file__).parents[1]


@cache
def sources(*names: str) -> str:
    """Digest of Python files and folders of them, as seen from the project's.

    Comments, docstrings and layout do not count.
    """
    files = {
        file for path in (_ROOT / name for name in names) for file in ([path] if path.is_file() else path.rglob("*.py"))
    }
    return digest(*(f"{file.relative_to(_ROOT)} {_tree(file)}" for file in sorted(files)))


@cache
def _tree(file: Path) -> str:
    tree = ast.parse(file.read_bytes())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [  # type: ignore[attr-defined]
                part for part in body if not (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))
            ]
    return ast.dump(tree)


class Kept:
    """Figures below `folder`, in ``KIND/NAME.json``.

    Those of the kinds in `believed` hold whatever they were made from.
    """

    def __init__(self, folder: Path, believed: Collection[str] = ()) -> None:
        self.folder, self.believed = folder, believed

    def find(self, kind: str, name: str, made_from: str) -> dict[str, Any] | None:
        """A figure that was made from what has the digest `made_from`, or is believed."""
        file = self._file(kind, name)
        if not file.is_file():
            return None
        content = json.loads(file.read_text(encoding="utf-8"))
        return content["figure"] if kind in self.believed or content["made_from"] == made_from else None

    def keep(self, kind: str, name: str, made_from: str, figure: Mapping[str, Any]) -> None:
        """Puts a figure there."""
        file = self._file(kind, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        write(file, json.dumps({"made_from": made_from, "figure": figure}, indent=1) + "\n")

    def figure(self, kind: str, name: str, made_from: str, make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """What is there, or what is made and put there."""
        found = self.find(kind, name, made_from)
        if found is None:
            found = dict(make())
            self.keep(kind, name, made_from, found)
        return found

    def _file(self, kind: str, name: str) -> Path:
        return self.folder / kind / f"{name.replace(' ', '-')}.json"

"""Boards by name: those of the modules in this folder, of installed packages, and of files anywhere.

A board file makes a `Board` at its top level; nothing else has to know of it. Outside the tree it is named by its path
(``--board DIR/mine.py``), or its package declares an entry point of group ``shiftwork.boards`` whose value is the
module, or a program calls `register`.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import pkgutil
import sys
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from hw import boards
from hw.boards.board import Board
from hw.spec.config import ConfigError

__all__ = ["BOARDS", "find", "installed", "register"]

BOARDS: dict[str, Board] = {}
"""Those known so far; `find` and `installed` add to them."""


def register(board: Board) -> Board:
    """Makes a board known by its name. Raises ConfigError if another one has the name."""
    if BOARDS.setdefault(board.name, board) != board:
        raise ConfigError(f"there are two boards called {board.name!r}")
    return board


def find(name: str) -> Board:
    """The board called `name`, or the first one in the file `name`. Raises ConfigError if there is none."""
    if name.endswith(".py"):
        return _load(Path(name))
    if name not in BOARDS:
        installed()
    if name not in BOARDS:
        raise ConfigError(f"unknown board {name!r}; known boards: {', '.join(BOARDS)}, or a FILE.py with one")
    return BOARDS[name]


def installed() -> dict[str, Board]:
    """All boards, those of installed packages included. Raises ConfigError for a package whose board is faulty."""
    for point in entry_points(group="shiftwork.boards"):
        try:
            module = point.load()
        except Exception as error:
            raise ConfigError(f"the boards of {point.value} cannot be loaded: {error}") from error
        _boards(module)
    return BOARDS


def _boards(module: ModuleType) -> list[Board]:
    return [register(value) for value in vars(module).values() if isinstance(value, Board)]


def _load(path: Path) -> Board:
    name = f"shiftwork_board_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}"
    module = sys.modules.get(name)
    if module is None:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None or not path.is_file():
            raise ConfigError(f"there is no file {path} with a board")
        module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except Exception as error:  # whatever a user's file does wrong
            raise ConfigError(f"the board in {path} cannot be loaded: {error}") from error
        sys.modules[name] = module
    found = _boards(module)
    if not found:
        raise ConfigError(f"{path} makes no Board")
    return found[0]


for _module in pkgutil.iter_modules(boards.__path__):
    _boards(importlib.import_module(f"{boards.__name__}.{_module.name}"))

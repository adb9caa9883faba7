"""Packages whose data are read: where they are, without importing them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from firmware.errors import UserError

__all__ = ["folder"]


def folder(module: str, package: str, how: str = "'shiftwork[real]'") -> Path:
    """The folder of an installed `module` of `package`. Raises UserError saying what to install, `how` it is."""
    spec = find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"this needs the package {package}, which is not installed: pip install {how}")
    return Path(next(iter(spec.submodule_search_locations)))

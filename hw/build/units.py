"""What every unit of the core takes, synthesised alone: kept by its contents, whichever cores it is in."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import ResetInserter, Signal, Value

from firmware.caches import cache_directory, digest, sources
from firmware.files import write
from hw.boards.fabric import Fabric
from hw.build import yosys
from hw.build.synthesis import Counts, synthesise
from hw.build.verilog import as_verilog
from hw.core import core_units
from hw.spec.config import Config

__all__ = ["Parts", "UnitSource", "known", "measured", "units_of"]

Parts = dict[str, Counts]
"""What a unit takes: "" the whole of it, and each of its parts by name."""

_FREE = {"fingerprint": 0}  # a constant of every core, which costs nothing either way
_KEPT_APART = ("matmul", "vector")  # whose parts are counted, too, as a build's report does


@dataclass(frozen=True)
class UnitSource:
    """A unit of a core: a class of the gateware, its parameters and how many there are."""

    name: str
    kind: type
    parameters: Mapping[str, Any]
    copies: int

    def rtlil(self) -> str:
        """It alone, with the reset that the core gives it."""
        clear = Signal()
        unit = self.kind(**self.parameters)
        ports = [clear, *(Value.cast(value) for _, _, value in unit.signature.flatten(unit))]
        return rtlil.convert(ResetInserter(clear)(unit), name=self.name, ports=ports, emit_src=False)


def units_of(config: Config, fabric: Fabric) -> list[UnitSource]:
    """The units of the core that `config` describes on `fabric`, as `core_units` has them."""
    return [
        UnitSource(name, kind, {**parameters, **{k: v for k, v in _FREE.items() if k in parameters}}, copies)
        for name, (kind, parameters, copies) in core_units(config, primitives=fabric.primitives).items()
    ]


def known(unit: UnitSource, fabric: Fabric) -> Parts | None:
    """What `unit` was found to take, if it was synthesised before and its gateware is the same today.

    Sources that changed since are not read: the unit is emitted again, which takes seconds, and compared.
    """
    path = _path(unit, fabric)
    try:
        entry = json.loads(path.read_text())
        if entry["sources"] != _sources():
            entry |= {"sources": _sources(), "same": entry["rtlil"] == digest(unit.rtlil())}
            write(path, json.dumps(entry))
        return entry["parts"] if entry["same"] and entry["tool"] == _tool(fabric) else None
    except (OSError, ValueError, KeyError, TypeError):  # none, or none of ours
        return None


def measured(unit: UnitSource, fabric: Fabric, watch: yosys.Watch | None = None) -> Parts:
    """The same, synthesised now where that is not known: a minute or so. Raises YosysError."""
    parts = known(unit, fabric)
    if parts is None:
        text = unit.rtlil()
        with TemporaryDirectory() as folder:
            write(Path(folder, "unit.v"), as_verilog(text, unit.name, Path(folder)))
            found = synthesise(
                ["unit.v"], unit.name, fabric, Path(folder), watch=watch,
                keep=lambda module: unit.name in _KEPT_APART and module.count(".") == 1,
            )  # fmt: skip
        parts = {each.name.partition(".")[2]: each.used for each in found}
        path = _path(unit, fabric)
        path.parent.mkdir(parents=True, exist_ok=True)
        entry = {"sources": _sources(), "rtlil": digest(text), "same": True, "tool": _tool(fabric), "parts": parts}
        write(path, json.dumps(entry))
    return parts


def _path(unit: UnitSource, fabric: Fabric) -> Path:
    key = digest(fabric.name, unit.kind.__module__, unit.kind.__name__, repr(sorted(unit.parameters.items())))
    return cache_directory("units") / f"{unit.name}-{key}.json"


def _tool(fabric: Fabric) -> str:
    return digest(yosys.tool(), fabric.commands)


@cache
def _sources() -> str:
    """Of everything that a unit's gateware could come from."""
    return digest(sources(Path(__file__).parents[1], without="build"), version("amaranth"), sys.version)

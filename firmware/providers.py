"""What the host's software takes from elsewhere: devices, golden model, cycle model.

Each is named here, and nowhere else, and imported when it is asked for: the host needs neither gateware nor simulator.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from firmware.errors import UserError

__all__ = ["DEVICES", "PROVIDERS", "provided"]

DEVICES: dict[str, str] = {
    "sim": "sim.verilated:open_transport",
    "serial": "firmware.link.serial:open_transport",
    "udp": "firmware.link.udp:open_transport",
}
"""Scheme -> ``module:function``; the function takes (Target, Board, Config or None) and returns a Transport."""

PROVIDERS: dict[str, str] = {
    "golden": "sim.golden:run",
    "cycles": "sim.cycles:predict",
    "code cycles": "sim.cycles:code_cycles",
    "area": "hw.build.area_model:AreaModel",
}
"""Integer model -> logits; Program -> prediction of its cycles; instructions, Config, Memory -> cycles; Board ->
estimates of what Configs take on it."""

_HINTS: Mapping[str, str] = {"serial": "pip install pyserial"}  # missing module -> what brings it


def provided(place: str, what: str) -> Any:
    """The object that ``module:name`` says. Raises UserError if `what` needs something that is not installed."""
    module, _, name = place.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        hint = _HINTS.get(error.name or "", "")
        raise UserError(f"{what} needs the Python module {error.name}{hint and ': ' + hint}") from error

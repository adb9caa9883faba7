"""The host that figures of its own were measured on."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from pathlib import Path

__all__ = ["machine", "machines"]

_LOAD, _INCLUDED = ", load average ", ", the benchmark's own included"


def machine() -> str:
    """Processor, and what else ran, in words."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name, load = names[0] if names else platform.processor(), os.getloadavg()[0]
    return f"{name}, {os.cpu_count()} processors{_LOAD}{load:.1f}{_INCLUDED}"


def machines(several: Iterable[str]) -> str:
    """What `machine` said at several times, each host once with the least and the greatest of its load averages."""
    loads: dict[str, list[float]] = {}
    for text in several:
        name, _, rest = text.partition(_LOAD)
        loads.setdefault(name, []).append(float(rest.removesuffix(_INCLUDED)))
    return "; ".join(f"{name}{_LOAD}{min(own):.1f} to {max(own):.1f}{_INCLUDED}" for name, own in loads.items())

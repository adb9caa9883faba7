"""The host that figures of its own were measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

__all__ = ["machine"]


def machine() -> str:
    """Processor, and what else ran, in words."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name, load = names[0] if names else platform.processor(), os.getloadavg()[0]
    return f"{name}, {os.cpu_count()} processors, load average {load:.1f}, the benchmark's own included"

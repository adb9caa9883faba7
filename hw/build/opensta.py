"""The longest path of a netlist of library cells, by OpenSTA where it is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from hw.build.liberty import NETLIST, Library

__all__ = ["TIMING_LOG", "TimingError", "longest_path", "tool"]

TIMING_LOG = "timing.log"
_SCALE = {"ps": 1e-3, "ns": 1.0}
_PARAMETERS = re.compile(r"#\(\s*(?:\.\w+\([^()]*\),?\s*)+\)")
_BEGIN = re.compile(r"^Startpoint: (\S+)", re.MULTILINE)
_END = re.compile(r"^Endpoint: (\S+)", re.MULTILINE)
_SLACK = re.compile(r"^\s*(-?[\d.]+)\s+slack", re.MULTILINE)


class TimingError(RuntimeError):
    """OpenSTA failed; the message has its last words."""


def tool() -> str | None:
    """Where OpenSTA is, if it is."""
    return shutil.which("sta") or shutil.which("opensta")


def longest_path(library: Library, top: str, directory: Path, *, period: float) -> dict[str, Any] | None:
    """Of register to register, with the library's delays and without wires: its nanoseconds, begin and end.

    Macros begin and end nothing: they have no delays here. `period` is in ns. None if OpenSTA is not installed or the
    library has no delays, raises TimingError if it fails.
    """
    program = tool()
    if program is None or not library.timed:
        return None
    wanted = period / _SCALE[library.time_unit]
    script = "".join(f"read_liberty {name}\n" for name in library.texts)
    script += f"read_verilog {NETLIST}\nlink_design {top}\n"
    script += f"create_clock -name clk -period {wanted:g} [get_ports clk]\nreport_checks -digits 6\nexit\n"
    (directory / "timing.tcl").write_text(script)
    netlist = directory / NETLIST
    netlist.write_text(_PARAMETERS.sub("", netlist.read_text()))  # which not every OpenSTA reads; macros are empty here
    done = subprocess.run(
        [program, "-no_splash", "-exit", "timing.tcl"], cwd=directory, capture_output=True, text=True, check=False
    )
    (directory / TIMING_LOG).write_text(done.stdout + done.stderr)
    begin, end, slack = (pattern.search(done.stdout) for pattern in (_BEGIN, _END, _SLACK))
    if not begin or not end or not slack:
        raise TimingError(f"OpenSTA found no path; see {TIMING_LOG}: {' '.join(done.stdout.splitlines()[-2:])}")
    nanoseconds = (wanted - float(slack[1])) * _SCALE[library.time_unit]
    return {"ns": round(nanoseconds, 3), "from": begin[1], "to": end[1], "tool": "OpenSTA"}

"""The longest register-to-register paths of the IP core, mapped flat to the 7 series and estimated from its netlist."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from amaranth.back import rtlil

from hw import yosys
from hw.accelerator import Accelerator
from hw.synthesis import SERIES7
from hw.timing import Path as TimingPath
from hw.timing import longest_paths

__all__ = ["TOP", "core_paths", "describe"]

TOP = "shiftwork"


def core_paths(config: Any, count: int) -> list[TimingPath]:
    """The `count` longest paths of the core that `config` describes. Takes a minute or more. Raises YosysError."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        (directory / "core.il").write_text(
            rtlil.convert(Accelerator(config, primitives=True), name=TOP, emit_src=False)
        )
        script = (
            f"read_rtlil core.il\nhierarchy -top {TOP}\n{SERIES7.commands.format(top=TOP)}"
            f"opt_clean -purge\nselect -module {TOP}\nwrite_json -selected core.json\n"
        )
        yosys.run("clock", script, directory)
        return longest_paths(json.loads((directory / "core.json").read_text()), TOP, count)


def describe(path: TimingPath) -> str:
    """A line for the path, one for each signal on it."""
    head = f"{path.nanoseconds:.2f} ns ({1e3 / path.nanoseconds:.0f} MHz)  {path.start} -> {path.end}"
    steps = (f"    {step.at:6.2f}  {step.cell:<9} {step.loads:5} loads  {step.signal}" for step in path.steps)
    return "\n".join([head, *steps])

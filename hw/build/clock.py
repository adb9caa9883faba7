"""Can the accelerator have this clock? Its longest paths, mapped flat to the 7 series, estimated from the netlist."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from amaranth.back import rtlil

from hw.accelerator import Accelerator
from hw.boards.board import Board
from hw.boards.fabric import SERIES7
from hw.build import yosys
from hw.build.timing import Path as TimingPath
from hw.build.timing import longest_paths
from hw.spec.config import Config

__all__ = ["ClockError", "check_clock", "core_paths"]

_TOP = "shiftwork"


class ClockError(ValueError):
    """A clock that cannot be met; the message has the estimate."""


def core_paths(config: Config, count: int, watch: yosys.Watch | None = None) -> list[TimingPath]:
    """The `count` longest paths of the core that `config` describes. Takes a minute or more. Raises YosysError."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        (directory / "core.il").write_text(
            rtlil.convert(Accelerator(config, primitives=True), name=_TOP, emit_src=False)
        )
        script = (
            f"read_rtlil core.il\nhierarchy -top {_TOP}\n{SERIES7.commands.format(top=_TOP)}"
            f"opt_clean -purge\nselect -module {_TOP}\nwrite_json -selected core.json\n"
        )
        yosys.run("clock", script, directory, watch)
        return longest_paths(json.loads((directory / "core.json").read_text()), _TOP, count)


def check_clock(board: Board, watch: yosys.Watch | None = None) -> None:
    """Raises ClockError if the accelerator's clock is more than the estimate of its longest path allows.

    Only the 7 series has an estimate; elsewhere the router is the judge.
    """
    if board.fabric != SERIES7:
        return
    longest = core_paths(board.config, 1, watch)[0]
    if longest.nanoseconds > 1e9 / board.clock_hz:
        raise ClockError(
            f"clock={board.clock_hz / 1e6:g} cannot be met on {board.name}: the accelerator's longest path, from "
            f"{longest.start} to {longest.end}, is estimated at {longest.nanoseconds:.2f} ns, which is "
            f"{1e3 / longest.nanoseconds:.0f} MHz"
        )

"""The longest register-to-register paths of the IP core, mapped flat to the 7 series and estimated from its netlist."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from firmware.progress import step
from hw.boards.registry import BOARDS
from hw.build import yosys
from hw.build.clock import core_paths
from hw.build.timing import Path as TimingPath
from hw.spec.config import ConfigError, override, parse_settings

__all__ = ["describe", "register"]


def describe(path: TimingPath) -> str:
    """A line for the path, one for each signal on it, with its loads and in how many units driver and loads are."""
    head = f"{path.nanoseconds:.2f} ns ({1e3 / path.nanoseconds:.0f} MHz)  {path.start} -> {path.end}"
    steps = (
        f"{step.at:10.2f}  {step.cell:<9} {step.loads:5} loads in {step.units:2}  {step.signal}" for step in path.steps
    )
    return "\n".join([head, *steps])


def register(commands: Any) -> None:
    """Adds the command's grammar to argparse's sub-parsers."""
    clock = commands.add_parser("clock", help="the core's longest paths on the 7 series, estimated without placement")
    clock.set_defaults(function=_command)
    clock.add_argument("--board", "--preset", choices=("arty_a7", "arty_a7_100"), default="arty_a7")
    clock.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a Config field")
    clock.add_argument("--paths", type=int, default=5, metavar="N", help="how many (default 5)")


def _command(arguments: argparse.Namespace) -> int:
    """1 if yosys fails, 2 for a bad setting."""
    try:
        config = override(BOARDS[arguments.board].config, parse_settings(arguments.set))
        with step(f"{arguments.board}: mapping the core flat to the 7 series"):
            paths = core_paths(config, arguments.paths)
    except (ConfigError, yosys.YosysError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    print(f"estimated by hw.build.timing on the netlist of {yosys.tool()}, speed grade -1, not placed, not routed")
    print("\n".join(describe(path) for path in paths))
    return 0

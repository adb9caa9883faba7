"""Command line: python -m bench.clock: the core's longest paths, mapped flat to the 7 series, estimated unplaced."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from amaranth.back import rtlil

from hw import yosys
from hw.accelerator import Accelerator
from hw.spec.config import PRESETS, ConfigError, override, parse_settings
from hw.synthesis import SERIES7
from hw.timing import Path as TimingPath
from hw.timing import longest_paths

__all__ = ["core_paths", "describe", "main"]

_TOP = "shiftwork"


def core_paths(config: Any, count: int) -> list[TimingPath]:
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
        yosys.run("clock", script, directory)
        return longest_paths(json.loads((directory / "core.json").read_text()), _TOP, count)


def describe(path: TimingPath) -> str:
    """A line for the path, one for each signal on it."""
    head = f"{path.nanoseconds:.2f} ns ({1e3 / path.nanoseconds:.0f} MHz)  {path.start} -> {path.end}"
    steps = (f"    {step.at:6.2f}  {step.cell:<9} {step.loads:5} loads  {step.signal}" for step in path.steps)
    return "\n".join([head, *steps])


def main(arguments: list[str] | None = None) -> int:
    """Prints the paths; 1 if yosys fails, 2 for a bad setting."""
    parser = argparse.ArgumentParser(prog="python -m bench.clock", description="longest paths, estimated")
    parser.add_argument("--preset", choices=("arty_a7", "arty_a7_100"), default="arty_a7")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a Config field")
    parser.add_argument("--paths", type=int, default=5, metavar="N", help="how many (default 5)")
    options = parser.parse_args(arguments)
    try:
        config = override(PRESETS[options.preset], parse_settings(options.set))
        print(f"{options.preset}: mapping the core flat to the 7 series ...", file=sys.stderr, flush=True)
        paths = core_paths(config, options.paths)
    except (ConfigError, yosys.YosysError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    print(f"estimated by hw.timing on the netlist of {yosys.tool()}, speed grade -1, not placed, not routed")
    print("\n".join(describe(path) for path in paths))
    return 0


if __name__ == "__main__":
    sys.exit(main())

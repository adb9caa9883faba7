"""Command line: python -m bench BENCHMARK, each of which has its module here."""

from __future__ import annotations

import argparse
import sys

from bench import ablation, clock, coverage, deit, executed, explore, golden, link, memory, real, scale, swin, text
from bench.mutants import command as mutants
from bench.trust import command as trust
from firmware.errors import UserError
from firmware.screen import INTERRUPTED, any_letters, leave
from firmware.transport import DeviceError
from sim.libraries import BuildError

__all__ = ["main", "parser"]

_BENCHES = (
    deit, swin, scale, real, text, ablation, golden, link, memory, clock, explore, mutants, trust, coverage, executed,
)  # fmt: skip


def parser(prog: str = "python -m bench") -> argparse.ArgumentParser:
    """The command line's grammar."""
    top = argparse.ArgumentParser(prog=prog, description="the gateware and the host in figures")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for bench in _BENCHES:
        bench.register(commands)
    return top


def main(arguments: list[str] | None = None, prog: str = "python -m bench") -> int:
    """Runs one benchmark; 1 if a result is not exact or a bar that the benchmark enforces is missed."""
    any_letters()
    parsed = parser(prog).parse_args(arguments)
    try:
        status: int = parsed.function(parsed)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except (BuildError, DeviceError, UserError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return status


if __name__ == "__main__":
    leave(main())

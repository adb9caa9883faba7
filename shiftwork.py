"""The command ``shiftwork``: every verb of ``python -m firmware``, and build, board and bench, under one help."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from firmware.__main__ import main as firmware
from firmware.__main__ import parser
from firmware.screen import leave

__all__ = ["command", "main"]


def _build(arguments: list[str], prog: str) -> int:
    from hw.build.command import main as build  # the gateware takes seconds to import: only for those who want it

    return build(arguments, prog=prog)


def _board(arguments: list[str], prog: str) -> int:
    from sim.__main__ import main as board

    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background jobs ignore interrupts
        signal.signal(number, signal.default_int_handler)
    return board(["board", *arguments], prog=prog.removesuffix(" board"))


def _bench(arguments: list[str], prog: str) -> int:
    from bench.__main__ import main as bench

    return bench(arguments, prog=prog)


_OTHERS: dict[str, tuple[str, Callable[[list[str], str], int]]] = {
    "build": ("board name -> Verilog, constraints, reports and bitstream", _build),
    "board": ("serve a simulated board on a terminal or a UDP port, as a real one answers", _board),
    "bench": ("the published figures, each from one command", _bench),
}


def main(arguments: list[str] | None = None) -> int:
    """Runs one verb; bad input gives one sentence on stderr and status 2."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] in _OTHERS:
        return _OTHERS[arguments[0]][1](arguments[1:], f"shiftwork {arguments[0]}")
    others = {name: text for name, (text, _) in _OTHERS.items()}
    return firmware(arguments, parser("shiftwork", others))


def command() -> NoReturn:
    """The process of the command."""
    leave(main())


if __name__ == "__main__":
    command()

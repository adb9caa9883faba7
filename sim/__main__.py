"""Command line: python -m sim board BOARD --pty | --udp [PORT] [--litedram DIR]."""

from __future__ import annotations

import argparse
import signal
import sys
from fractions import Fraction
from pathlib import Path

from firmware.errors import UserError
from firmware.files import check_directory
from firmware.screen import INTERRUPTED, any_letters, leave
from firmware.transport import DeviceError
from hw.boards.board import Board
from hw.boards.registry import BOARDS, find
from hw.shell.generator import ShellError
from hw.spec.config import ConfigError, parse_settings
from hw.spec.link import UDP_PORT
from sim.board.board import DIVISOR, Pty, Udp, open_board
from sim.board.litedram import open_with_shell
from sim.verilated import BuildError, Simulation

__all__ = ["main", "parser"]


def parser(prog: str = "python -m sim") -> argparse.ArgumentParser:
    """The command line's grammar."""
    top = argparse.ArgumentParser(prog=prog, description="the gateware, compiled, as other programs see it")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    board = commands.add_parser("board", help="serve a simulated board until interrupted")
    board.add_argument("board", help=f"one of {', '.join(BOARDS)}")
    board.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a field of the board's Config, for another size of accelerator, or its clock in MHz",
    )
    line = board.add_mutually_exclusive_group(required=True)
    line.add_argument("--pty", action="store_true", help="UART pins on a pseudo-terminal; prints its path")
    line.add_argument(
        "--udp",
        type=int,
        nargs="?",
        const=UDP_PORT,
        metavar="PORT",
        help="datagrams on 127.0.0.1, as a board with Ethernet takes them",
    )
    board.add_argument("--divisor", type=int, default=DIVISOR, help="cycles per bit of the UART, at least 4")
    board.add_argument(
        "--memory", type=int, default=256, metavar="MIB", help="of the simulated board, a power of two (default 256)"
    )
    board.add_argument(
        "--litedram", type=Path, metavar="DIR",
        help="memory behind LiteDRAM's own controller; writes the shell, and what `python -m firmware dram DIR` needs",
    )  # fmt: skip
    return top


def _board(arguments: argparse.Namespace) -> Board:
    if not 4 <= arguments.divisor < 1 << 16:
        raise ConfigError(f"--divisor must be from 4 to 65535 cycles, not {arguments.divisor}")
    if arguments.memory not in [1 << n for n in range(12)]:
        raise ConfigError(f"--memory must be a power of two from 1 to 2048 MiB, not {arguments.memory}")
    return find(arguments.board).override(parse_settings(arguments.set))


def _open(board: Board, parsed: argparse.Namespace) -> Simulation:
    link, size = "uart" if parsed.pty else "udp", parsed.memory << 20
    if parsed.litedram is None:
        return open_board(board, link, memory_size=size, divisor=parsed.divisor)
    ratio = Fraction(board.clock_hz, board.system_hz)
    return open_with_shell(
        board.config, link, parsed.litedram, memory_size=size, divisor=parsed.divisor, ratio=ratio
    )  # fmt: skip


def main(arguments: list[str] | None = None, prog: str = "python -m sim") -> int:
    """Serves until interrupted; the first line printed is the device as `python -m firmware --device` takes it."""
    any_letters()
    parsed = parser(prog).parse_args(arguments)
    try:
        board = _board(parsed)
        if parsed.litedram is not None:
            check_directory(parsed.litedram, "--litedram")
        simulation = _open(board, parsed)
        server = Pty(simulation) if parsed.pty else Udp(simulation, port=parsed.udp)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except (BuildError, ConfigError, DeviceError, ShellError, UserError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        place = f"port {parsed.udp}" if parsed.udp else error.filename or "the terminal"
        print(f"error: cannot serve the board on {place}: {error.strerror}", file=sys.stderr)
        return 2
    print(server.device, flush=True)
    try:
        server.serve()
    except KeyboardInterrupt:
        return 0
    finally:
        server.close()
    return 0


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background jobs ignore interrupts
        signal.signal(number, signal.default_int_handler)
    leave(main())

"""dram: starts the memory of a board."""

from __future__ import annotations

import argparse
from typing import Any

from firmware.dram import load_controller, start
from firmware.errors import UserError
from firmware.link.transport import LinkTransport
from firmware.progress import levelling
from firmware.transport import open_transport

__all__ = ["dram_command", "register"]


def register(commands: Any) -> None:
    """Adds the command's grammar to argparse's sub-parsers."""
    dram = commands.add_parser("dram", help="start the memory of a board, after its bitstream was loaded")
    dram.set_defaults(function=dram_command)
    dram.add_argument("build", help="directory of the board's build, with csr.json and dram.json")
    dram.add_argument(
        "--device", required=True, help="where the board answers: serial:PORT[?baud=RATE] or udp:IP[:PORT]"
    )


def dram_command(arguments: argparse.Namespace) -> int:
    """Starts the memory of a board, and prints how it is written and where it reads right."""
    controller = load_controller(arguments.build)
    transport = open_transport(arguments.device)
    try:
        if not isinstance(transport, LinkTransport):
            raise UserError(f"{arguments.device} is no board: its memory needs no start")
        with levelling() as report:
            levels = start(transport.link, controller, report=report)
    finally:
        transport.close()
    for way in levels.writes:
        print(
            f"module {way.module}: written with the clock {way.clock} taps late, strobe {way.strobe}, data {way.data}, "
            f"bitslip {way.bitslip}"
        )
    for eye in levels.eyes:
        print(
            f"module {eye.module}: bitslip {eye.bitslip}, delays {eye.first} to {eye.last} read right, {eye.delay} set"
        )
    print("the memory is ready")
    return 0

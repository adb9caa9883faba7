"""estimate: model file -> cycles, images per second, traffic on a board, without synthesis or simulation."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

from rich.console import Console

from firmware.cli.compile import add_program_arguments, board_of, model_of
from firmware.compiler import compile_model
from firmware.estimate import estimate, print_estimate
from firmware.files import Outputs
from firmware.progress import step
from firmware.report import write_json

__all__ = ["estimate_command", "register"]


def register(commands: Any) -> None:
    """Adds the command's grammar to argparse's sub-parsers."""
    command = commands.add_parser(
        "estimate", help="how fast a model will be on a board, by the cycle model, before anything is built"
    )
    command.set_defaults(function=estimate_command)
    add_program_arguments(command)
    command.add_argument("--json", metavar="FILE", help="write the estimate, with every layer")


def estimate_command(arguments: argparse.Namespace) -> int:
    """Prints the estimate; a file that cannot be written is told before the work."""
    model, board = model_of(arguments), board_of(arguments)
    outputs = Outputs(arguments.json)
    with step(f"compiling {model.name} for {board.name}"):
        program = compile_model(model, board, batch=arguments.batch, whole=arguments.whole)
    with step("predicting its cycles"):
        found = estimate(program, board)
    outputs.write(arguments.json, partial(write_json, found.as_json()))
    print_estimate(found, Console())
    outputs.finish()
    return 0

"""compile: model file -> device program."""

from __future__ import annotations

import argparse
from operator import methodcaller
from pathlib import Path
from typing import Any

from firmware.compiler import Program, compile_model
from firmware.files import Outputs, check_directory
from firmware.model_file import load_model
from firmware.progress import step
from hw.boards.board import Board
from hw.boards.registry import find
from hw.spec.config import parse_settings
from hw.spec.model import Model

__all__ = ["add_program_arguments", "board_of", "compile_command", "model_of", "register"]

_FILES = ("program.bin", "model.bin", "listing.txt")


def register(commands: Any) -> None:
    """Adds the command's grammar to argparse's sub-parsers."""
    compiler = commands.add_parser("compile", help="model file -> program for a board, and what it takes there")
    compiler.set_defaults(function=compile_command)
    add_program_arguments(compiler)
    compiler.add_argument("-o", "--output", metavar="DIR", help="write program.bin, model.bin and listing.txt there")


def add_program_arguments(command: argparse.ArgumentParser) -> None:
    """What a program is compiled from, and for: model file, board, images."""
    command.add_argument("model", help="a model file of import-ivit, quantize or make-model")
    command.add_argument(
        "--board", default="arty_a7", help="for which board; hw.build --list has them (default arty_a7)"
    )
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a field of the board's Config, for another size of accelerator, or its clock in MHz",
    )
    command.add_argument(
        "--batch", type=int, default=1, help="images interleaved in one program: more keep the array busier (default 1)"
    )
    command.add_argument(
        "--whole", action="store_true", help="compute every tensor whole, even what reaches no output, to look at it"
    )
    command.add_argument("--tokens", type=int, help="of a model of text: tokens of a text (default: 32)")


def board_of(arguments: argparse.Namespace) -> Board:
    """``--board`` with ``--set``. Raises ConfigError."""
    return find(arguments.board).override(parse_settings(arguments.set))


def model_of(arguments: argparse.Namespace) -> Model:
    """The model, one of text for texts of ``--tokens``. Raises ModelError."""
    model = load_model(arguments.model)
    return model if arguments.tokens is None else model.of_tokens(arguments.tokens)


def compile_command(arguments: argparse.Namespace) -> int:
    """Model file -> program files in a directory, and a summary."""
    model, board = model_of(arguments), board_of(arguments)
    if arguments.output:
        check_directory(arguments.output, "--output")
        outputs = Outputs(*(Path(arguments.output) / name for name in _FILES))
    with step(f"compiling {model.name} for {board.name}", at_once=False):
        program = compile_model(model, board, batch=arguments.batch, whole=arguments.whole)
    if arguments.output:
        for name, content in zip(_FILES, (program.code, program.model_image.tobytes(), _listing(program)), strict=True):
            outputs.write(Path(arguments.output) / name, methodcaller("write", content))
        outputs.finish()
        print(f"wrote program.bin, model.bin and listing.txt to {arguments.output}")
    print(
        f"{model.name} on {board.name}: {program.instructions} instructions for {program.images} images, "
        f"super-tiles of {', '.join(map(str, sorted(set(program.tiles))))} tokens, {program.slots} in flight"
    )
    print(
        f"memory: program {len(program.code):,}, model {len(program.model_image):,}, work {program.work_bytes:,}, "
        f"input {program.input_bytes:,}, output {program.output_bytes:,} bytes"
    )
    share = program.macs / (program.estimated_cycles * board.config.macs_per_cycle)
    print(f"{program.estimated_cycles:,} cycles, utilisation {share:.1%} (estimated by the scheduler)")
    return 0


def _listing(program: Program) -> bytes:
    lines = []
    for index, instruction in enumerate(program.disassemble()):
        waits = " ".join(f"{engine.name}>={count}" for engine, count in instruction.waits.items())
        operands = " ".join(f"{name}={value}" for name, value in instruction.operands.items())
        lines.append(f"{index:6} {instruction.op.name:12} [{waits}] {operands}\n")
    return "".join(lines).encode()

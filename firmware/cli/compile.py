"""compile: model file -> device program."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from firmware.compiler import Program, compile_model
from firmware.model_file import load_model
from hw.boards.registry import find
from hw.spec.config import Config, parse_settings

__all__ = ["board_config", "compile_command", "register"]


def register(commands: Any) -> None:
    """Adds the command's grammar to argparse's sub-parsers."""
    compiler = commands.add_parser("compile", help="model file -> device program")
    compiler.set_defaults(function=compile_command)
    compiler.add_argument("model")
    compiler.add_argument("--board", default="arty_a7")
    compiler.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a Config field")
    compiler.add_argument("--batch", type=int, default=1, help="images interleaved in one program")
    compiler.add_argument("-o", "--output", metavar="DIR", help="write program.bin, model.bin and listing.txt")


def board_config(arguments: argparse.Namespace) -> Config:
    """The Config of ``--board`` with ``--set``. Raises ConfigError."""
    return find(arguments.board).override(parse_settings(arguments.set)).config


def compile_command(arguments: argparse.Namespace) -> int:
    """Model file -> program files in a directory, and a summary."""
    model, config = load_model(arguments.model), board_config(arguments)
    program = compile_model(model, config, batch=arguments.batch)
    if arguments.output:
        _write_program(program, Path(arguments.output))
        print(f"wrote program.bin, model.bin and listing.txt to {arguments.output}")
    print(
        f"{model.name} on {arguments.board}: {program.instructions} instructions for {program.images} images, "
        f"super-tiles of {', '.join(map(str, sorted(set(program.tiles))))} tokens, {program.slots} in flight"
    )
    print(
        f"memory: program {len(program.code):,}, model {len(program.model_image):,}, work {program.work_bytes:,}, "
        f"input {program.input_bytes:,}, output {program.output_bytes:,} bytes"
    )
    share = program.macs / (program.estimated_cycles * config.macs_per_cycle)
    print(f"{program.estimated_cycles:,} cycles, utilisation {share:.1%} (estimated by the scheduler)")
    return 0


def _write_program(program: Program, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "program.bin").write_bytes(program.code)
    (directory / "model.bin").write_bytes(program.model_image.tobytes())
    with (directory / "listing.txt").open("w") as file:
        for index, instruction in enumerate(program.disassemble()):
            waits = " ".join(f"{engine.name}>={count}" for engine, count in instruction.waits.items())
            operands = " ".join(f"{name}={value}" for name, value in instruction.operands.items())
            file.write(f"{index:6} {instruction.op.name:12} [{waits}] {operands}\n")

"""embed and search: features of texts by a model of text, and which lines of a file are nearest to a question."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from firmware.devices import Device, Golden, open_device
from firmware.errors import UserError
from firmware.files import Outputs, array
from firmware.model_file import load_model
from firmware.progress import running
from firmware.screen import show
from firmware.text import normalised, read_lines, sums
from firmware.text.encode import tokens_of
from hw.spec.model import Model

__all__ = ["embed_command", "register", "search_command"]


def register(commands: Any) -> None:
    """Adds the commands' grammars to argparse's sub-parsers."""
    embed = commands.add_parser("embed", help="features of texts: on a board, a simulated one, or the golden model")
    embed.set_defaults(function=embed_command)
    embed.add_argument("model", help="a model file of quantize, of a network of text")
    embed.add_argument("--text", required=True, metavar="FILE", help="a text a line, UTF-8; - is standard input")
    embed.add_argument("-o", "--output", required=True, metavar="FILE", help="features of length 1, float32, .npy")
    embed.add_argument("--integers", metavar="FILE", help="write the integers that they are made of, .npy")
    embed.add_argument("--check", action="store_true", help="compare every integer with the golden model's")
    search = commands.add_parser("search", help="the lines of a text file that are nearest to a question")
    search.set_defaults(function=search_command)
    search.add_argument("model", help="a model file of quantize, of a network of text")
    search.add_argument("question", help="what to look for: words or a sentence")
    search.add_argument("--text", required=True, metavar="FILE", help="a text a line, UTF-8; - is standard input")
    search.add_argument("--count", type=int, default=5, help="lines that are shown (default 5)")
    for command in (embed, search):
        command.add_argument(
            "--device", default="golden", help="golden (default), sim:BOARD, serial:PORT or udp:IP"
        )  # fmt: skip


def embed_command(arguments: argparse.Namespace) -> int:
    """Features of the lines of a file; 1 if ``--check`` finds a difference."""
    outputs = Outputs(arguments.output, arguments.integers)
    model = load_model(arguments.model)
    ids = tokens_of(model, read_lines(arguments.text))
    with open_device(arguments.device) as device:
        found = _run(device, model, ids)
    outputs.write(arguments.integers, array(found))
    outputs.write(arguments.output, array(normalised(model, found)))
    status = 0
    if arguments.check:
        with Golden() as golden:
            wrong = np.flatnonzero((_run(golden, model, ids) != found).any(axis=1))
        status = int(len(wrong) > 0)
        if status:
            print(f"{len(wrong)} of {len(ids)} texts differ from the golden model, line {wrong[0] + 1} first")
    print(f"{len(ids)} texts of {min(map(len, ids))} to {max(map(len, ids))} tokens, {model.classes} features each")
    outputs.finish()
    return status


def search_command(arguments: argparse.Namespace) -> int:
    """Prints the nearest lines, the nearest first."""
    if arguments.count < 1:
        raise UserError(f"--count must be at least 1, not {arguments.count}")
    model = load_model(arguments.model)
    lines = read_lines(arguments.text)
    ids = tokens_of(model, [*lines, arguments.question])
    with open_device(arguments.device) as device:
        *features, question = normalised(model, _run(device, model, ids))
    near = np.array(features) @ question
    table = Table(title=f"nearest of {len(lines)} lines", title_justify="left")
    for heading in ("cosine", "line"):
        table.add_column(heading, justify="right")
    table.add_column("text")
    for number in np.argsort(-near, kind="stable")[: arguments.count]:
        table.add_row(f"{near[number]:.3f}", str(number + 1), lines[number])
    show(table, Console())
    return 0


def _run(device: Device, model: Model, ids: list[NDArray[np.int64]]) -> NDArray[np.int32]:
    with running(len(ids), "texts") as advance:
        return sums(device, model, ids, progress=advance)

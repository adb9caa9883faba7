"""eval: accuracy of a model on labelled images."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import MofNCompleteColumn, TextColumn, TimeRemainingColumn

from firmware.errors import UserError
from firmware.evaluate import Cluster, Evaluation, Local, Pool, evaluate
from firmware.files import Outputs
from firmware.progress import shown
from firmware.report import write_json
from firmware.screen import INTERRUPTED

__all__ = ["evaluate_command", "pool_of", "register"]

_SHOWN = 8  # numbers of damaged lines


def register(commands: Any) -> None:
    """Adds the command's grammar to argparse's sub-parsers."""
    command = commands.add_parser("eval", help="top-1 and top-5 accuracy on labelled images; a stopped run goes on")
    command.set_defaults(function=evaluate_command)
    command.add_argument("model", help="a model file of import-ivit, quantize or make-model")
    command.add_argument("images", help="folder with a folder per class, or .npy with --labels")
    command.add_argument(
        "--labels", help=".npy of class numbers, or text: one a line, after the file's name if you like"
    )
    command.add_argument("--count", type=int, help="use only COUNT images, of each class in turn")
    command.add_argument("--device", default="golden", help="golden (default), or sim:BOARD")
    command.add_argument("--batch", type=int, default=32, help="images a worker takes at a time (default 32)")
    command.add_argument("--workers", type=int, help="processes of this machine; default: one per processor")
    command.add_argument("--dask", metavar="ADDRESS", help="run on the workers of this Dask scheduler, tcp://HOST:PORT")
    command.add_argument("--results", metavar="FILE", help="where answers are kept; default: MODEL's name with .jsonl")
    command.add_argument("--restart", action="store_true", help="do not go on with the answers there, begin anew")
    command.add_argument("--report", metavar="FILE", help="write the report, JSON")


def evaluate_command(arguments: argparse.Namespace) -> int:
    """Prints the accuracies; 130 if interrupted."""
    results = arguments.results or f"{Path(arguments.model).stem}.jsonl"
    outputs = Outputs(arguments.report, results)
    pool, console, start = pool_of(arguments), Console(), time.monotonic()
    try:
        with _progress() as progress:
            found = evaluate(
                arguments.model, arguments.images, arguments.labels, pool=pool, results=results,
                device=arguments.device, limit=arguments.count, batch=arguments.batch, restart=arguments.restart,
                progress=progress,
            )  # fmt: skip
    except KeyboardInterrupt:
        Console(stderr=True).print(f"interrupted; the same command goes on with what is in {results}", soft_wrap=True)
        return INTERRUPTED
    top1, top5 = found.accuracy()
    seconds = time.monotonic() - start
    if found.damaged:
        lines = ", ".join(map(str, found.damaged[:_SHOWN])) + (", ..." if len(found.damaged) > _SHOWN else "")
        Console(stderr=True).print(
            f"{results} had {len(found.damaged)} damaged lines ({lines}): their images were run again", soft_wrap=True
        )
    kept = f", {found.kept} of them by an earlier run" if found.kept else ""
    console.print(
        f"{found.images} images on {arguments.device} in {seconds:.1f} s{kept}; answers in {results}", soft_wrap=True
    )
    console.print(f"top-1 {top1:.2%}, top-5 {top5:.2%}")
    if arguments.report:
        report = {
            "model": str(arguments.model), "device": arguments.device, "images": found.images, "top1": top1,
            "top5": top5, "kept": found.kept, "seconds": seconds,
        }  # fmt: skip
        outputs.write(arguments.report, partial(write_json, report))
    outputs.finish()
    return 0


def pool_of(arguments: argparse.Namespace) -> Pool:
    """Where ``--workers`` or ``--dask`` say that work is done. Raises UserError."""
    if arguments.dask:
        if arguments.workers is not None:
            raise UserError("--workers are processes of this machine; the workers of --dask are the scheduler's")
        return Cluster(arguments.dask)
    workers = os.cpu_count() or 1 if arguments.workers is None else arguments.workers
    if workers < 1:
        raise UserError(f"--workers must be at least 1, not {workers}")
    return Local(workers)


@contextmanager
def _progress() -> Generator[Callable[[Evaluation, int], None], None, None]:
    """Images, and the accuracy so far."""
    note = TextColumn("{task.fields[note]}")
    with shown("evaluating", "images", MofNCompleteColumn(), note, TimeRemainingColumn()) as show:

        def update(known: Evaluation, total: int) -> None:
            show(known.images, total, f"top-1 {known.top1 / known.images:.2%}" if known.images else "")

        yield update

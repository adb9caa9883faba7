"""What a person reads: nothing is cut off or refused by a screen, however narrow it is and whatever letters it has."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper
from typing import NoReturn

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

__all__ = ["INTERRUPTED", "any_letters", "leave", "show"]

INTERRUPTED = 130  # the status of a command that Ctrl-C ended
_ANY = 10_000  # characters a line may have


def any_letters() -> None:
    """From now on standard output takes every text: letters that it lacks are written as Python escapes them."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def leave(status: int) -> NoReturn:
    """Ends the process. Interrupted, it does not wait for threads, which may be in compiled code for long."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if status == INTERRUPTED:
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def show(table: Table, console: Console) -> None:
    """Prints `table`: texts fold between words, except in columns of ``no_wrap``.

    Where that is not enough, lines are longer than the screen is wide.
    """
    screen, room = console.width, console.options.update_width(_ANY)
    found = [[Measurement.get(console, room, cell) for cell in (c.header, *c.cells)] for c in table.columns]
    widths = [max(size.maximum for size in column) for column in found]
    least = [
        width if column.no_wrap else max(size.minimum for size in sizes)
        for column, sizes, width in zip(table.columns, found, widths, strict=True)
    ]
    around = Measurement.get(console, room, table).maximum - sum(widths)
    while sum(widths) + around > screen and widths != least:
        widest = max(range(len(widths)), key=lambda n: (widths[n] > least[n], widths[n]))
        widths[widest] -= 1
    for column, width in zip(table.columns, widths, strict=True):
        column.width = width
    console.width = max(screen, sum(widths) + around)
    try:
        console.print(table)
    finally:
        console.width = screen

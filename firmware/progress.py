"""Progress bars on stderr, shown only on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from firmware.transport import Reporting, Transport

__all__ = ["levelling", "running", "sending"]


def _bar(text: str, *columns: ProgressColumn) -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn(text), BarColumn(), *columns, console=console, transient=True, disable=not console.is_terminal
    )


@contextmanager
def running(total: int) -> Generator[Callable[[int], None], None, None]:
    """Of a run: a function to call with the cycles so far, of about `total`."""
    with _bar("running", TextColumn("{task.completed:,.0f} cycles"), TimeElapsedColumn()) as bar:
        task = bar.add_task("run", total=total)
        yield lambda cycles: bar.update(task, completed=cycles, total=max(total, cycles))


@contextmanager
def sending(transport: Transport) -> Generator[None, None, None]:
    """Of what is written to a device behind a slow link meanwhile; nothing for others."""
    if not isinstance(transport, Reporting):
        yield
        return
    with _bar("sending", DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task("send", total=None)
        transport.on_transfer = lambda done, total: bar.update(task, completed=done, total=total)
        try:
            yield
        finally:
            transport.on_transfer = None


@contextmanager
def levelling() -> Generator[Callable[[int, int], None], None, None]:
    """Of a memory's training: a function to call with the delays tried so far and in all."""
    with _bar("levelling", MofNCompleteColumn()) as bar:
        task = bar.add_task("level", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)

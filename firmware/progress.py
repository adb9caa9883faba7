"""How far something is, on stderr: bars on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from firmware.transport import Reporting, Transport

__all__ = ["Update", "levelling", "running", "sending", "shown", "step"]

Update = Callable[..., None]
"""Called with what is done, what there is in all, and perhaps a note."""

_EVERY = 10.0  # seconds between lines


class _Lines:
    """A line at most every `_EVERY` seconds: what, how far, and how long it may still take at the pace so far."""

    def __init__(self, what: str, unit: str, console: Console) -> None:
        self._what, self._unit, self._console = what, unit, console
        self._begun = self._latest = time.monotonic()
        self._first: float | None = None  # done before this began

    def __call__(self, done: float, total: float | None = None, note: str = "") -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = done
        if now - self._latest < _EVERY:
            return
        self._latest, text = now, f"{self._what}: {done:,.0f}"
        if total:
            text += f" of {total:,.0f} {self._unit} ({done / total:.0%})"
            if done > self._first:
                seconds = (now - self._begun) * max(0.0, total - done) / (done - self._first)
                text += f", about {_duration(seconds)} left"
        else:
            text += f" {self._unit}"
        self._console.print(text + (f", {note}" if note else ""), soft_wrap=True, highlight=False, markup=False)


def _duration(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min" if hours < 2 else f"{hours:.1f} h"


@contextmanager
def shown(what: str, unit: str, *columns: ProgressColumn, total: float | None = None) -> Generator[Update, None, None]:
    """Of anything: a function to call with what is done, of `total` or the total it is given, and a note."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(what, unit, console)
        return
    with Progress(TextColumn(what), BarColumn(), *columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=total, note="")

        def update(done: float, total: float | None = total, note: str = "") -> None:
            bar.update(task, completed=done, total=total, note=note)

        yield update


@contextmanager
def running(total: int, unit: str = "cycles", what: str = "running") -> Generator[Callable[[int], None], None, None]:
    """Of a run: a function to call with the cycles, or what `unit` says, so far, of about `total`."""
    with shown(what, unit, TextColumn(f"{{task.completed:,.0f}} {unit}"), TimeElapsedColumn(), total=total) as show:
        yield lambda done: show(done, max(total, done))


@contextmanager
def sending(transport: Transport | None) -> Generator[None, None, None]:
    """Of what is written to a device behind a slow link meanwhile; nothing for others."""
    if not isinstance(transport, Reporting):
        yield
        return
    with shown("sending", "bytes", DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()) as show:
        transport.on_transfer = show
        try:
            yield
        finally:
            transport.on_transfer = None


@contextmanager
def levelling() -> Generator[Callable[[int, int], None], None, None]:
    """Of a memory's training: a function to call with the delays tried so far and in all."""
    with shown("levelling", "delays", MofNCompleteColumn()) as show:
        yield show


@contextmanager
def step(
    what: str, console: Console | None = None, *, at_once: bool = True
) -> Generator[Callable[[str], None], None, None]:
    """Of something of unknown length: that it runs, and for how long so far; a function to call with a note.

    On stderr, or on `console`; what is mostly short may be told not `at_once` but after a while.
    """
    console, note = console or Console(stderr=True), [""]
    if not console.is_terminal:
        if at_once:
            console.print(f"{what} ...", soft_wrap=True, highlight=False, markup=False)
        over, begun = threading.Event(), time.monotonic()

        def tell() -> None:
            while not over.wait(_EVERY):
                text = f"{what}: {_duration(time.monotonic() - begun)} so far" + (f", {note[0]}" if note[0] else "")
                console.print(text, soft_wrap=True, highlight=False, markup=False)

        teller = threading.Thread(target=tell, daemon=True)
        teller.start()
        try:
            yield lambda text: note.__setitem__(0, text)
        finally:
            over.set()
            teller.join()
        return
    columns = (SpinnerColumn(), TextColumn(what), TimeElapsedColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=None, note="")
        yield lambda text: progress.update(task, note=text)

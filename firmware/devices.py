"""What runs a model: an accelerator at the end of a link, or the golden model on this computer; one door to both."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from firmware.compiler import Program
from firmware.device import Accelerator
from firmware.errors import UserError
from firmware.preprocess import to_int8
from firmware.profile import Profile
from firmware.providers import PROVIDERS, provided
from firmware.transport import DeviceError, Transport, number, parse_target
from hw.boards.board import Board
from hw.spec.config import Config
from hw.spec.model import Model

__all__ = ["Device", "Golden", "open_device"]

_AT_ONCE = 64  # images the golden model takes before it tells how far it is: enough for every thread


class Device(Protocol):
    """What a model is loaded on and runs on; a context manager that closes it."""

    @property
    def transport(self) -> Transport | None:
        """The link to a device that has one."""

    @property
    def clocked(self) -> bool:
        """Whether it has cycles, so that a profile says how many."""

    @property
    def figures(self) -> str:
        """Where the figures of a profile come from: simulated, or measured; nothing without cycles."""

    @property
    def board(self) -> Board | None:
        """The board that it is, as far as that is known."""

    @property
    def model(self) -> Model | None:
        """The model that is loaded."""

    def load(self, model: Model | Program, *, batch: int = 1, tokens: int | None = None) -> Program | None:
        """Takes `model`, `batch` images of it in one program, one of text for so many `tokens`. What a device with
        instructions was given."""

    def run(self, images: NDArray[Any], *, progress: Callable[[int], None] | None = None) -> NDArray[np.int32]:
        """Integer logits [n, classes] of images [n, C, H, W], uint8 pixels or int8 as the model takes them.

        `progress` is called now and then with the cycles so far, without cycles with the images.
        """

    def profile(self) -> Profile:
        """Figures of the latest `run`; zero cycles of a device without any."""

    def close(self) -> None:
        """Gives it back. Closing twice is allowed."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Golden:
    """The integer model itself, computed here on `threads` threads, by default one per processor: what a device must
    equal.
    """

    clocked, figures = False, ""
    board: Board | None = None
    transport: Transport | None = None

    def __init__(self, threads: int | None = None) -> None:
        self._run = provided(PROVIDERS["golden"], "the golden model")
        self._threads = threads
        self._model: Model | None = None
        self._images: int | None = None

    @property
    def model(self) -> Model | None:
        """See Device."""
        return self._model

    def load(self, model: Model | Program, *, batch: int = 1, tokens: int | None = None) -> None:
        """Takes `model`, or that of a Program; a batch makes no difference here."""
        del batch
        model = model.model if isinstance(model, Program) else model
        self._model, self._images = model if tokens is None else model.of_tokens(tokens), None

    def run(self, images: NDArray[Any], *, progress: Callable[[int], None] | None = None) -> NDArray[np.int32]:
        """See Device; `progress` is called with the images so far. Raises UserError for other images."""
        model = self._loaded()
        images = to_int8(images, model)
        if not len(images):
            raise DeviceError("there are no images to run")
        logits = []
        for first in range(0, len(images), _AT_ONCE):
            logits.append(self._run(model, images[first : first + _AT_ONCE], threads=self._threads))
            if progress is not None:
                progress(min(len(images), first + _AT_ONCE))
        self._images = len(images)
        return np.concatenate(logits)

    def trace(self, images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """The output of every operator, by its name, batch first, int64."""
        model = self._loaded()
        trace: dict[str, NDArray[Any]] = {}
        self._run(model, to_int8(images, model), trace)
        return trace

    def profile(self) -> Profile:
        """Images and MACs of the latest `run`; no cycles."""
        if self._images is None:
            raise DeviceError("there is nothing to profile: run images first")
        macs = self._images * self._loaded().macs
        return Profile(self._images, cycles=0, instructions=0, beats=0, macs=macs, macs_per_cycle=0, engines=())

    def close(self) -> None:
        """Nothing to give back."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _loaded(self) -> Model:
        if self._model is None:
            raise DeviceError("no model is loaded: call load first")
        return self._model


def open_device(target: str, wanted: Board | Config | None = None) -> Device:
    """The device called `target`: ``golden``, ``sim:BOARD``, ``serial:PORT`` or ``udp:ADDRESS``, each with
    ``?key=value,...`` if wanted.

    An accelerator is to be `wanted` if that is given, see `Accelerator.open`; ``golden?threads=N`` says on how many.
    Raises DeviceError.
    """
    where = parse_target(target)
    if where.scheme != "golden":
        return Accelerator.open(target, wanted)
    for key in where.options:
        if key != "threads":
            raise DeviceError(f"unknown option {key!r} of the golden model; it has threads")
    threads = number("threads", where.options["threads"]) if where.options else None
    if threads is not None and threads < 1:
        raise DeviceError(f"the golden model runs on at least 1 thread, not {threads}")
    try:
        return Golden(threads)
    except UserError as error:
        raise DeviceError(str(error)) from error

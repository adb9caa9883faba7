"""How the host reaches a device: registers, memory and an interrupt, whatever the link in between."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from firmware.errors import UserError
from firmware.providers import DEVICES, provided
from hw.boards.board import Board
from hw.boards.registry import find
from hw.spec.config import Config

__all__ = [
    "DeviceError",
    "DeviceTimeoutError",
    "Reporting",
    "Stated",
    "StrangerError",
    "Target",
    "Traced",
    "Transport",
    "TransportError",
    "number",
    "open_transport",
    "parse_target",
]  # fmt: skip


class DeviceError(RuntimeError):
    """The device cannot do what was asked; the message is one sentence with the values that matter."""


class TransportError(DeviceError):
    """The link to the device failed, or the device broke its rules."""


class StrangerError(DeviceError):
    """What answers is not the accelerator this host compiles for."""


class DeviceTimeoutError(DeviceError):
    """The device did not finish in time, or stopped making progress."""


@runtime_checkable
class Transport(Protocol):
    """A link to one device. Addresses are the device's own: registers, and bytes of its memory."""

    memory_size: int  # bytes of device memory, from address 0
    simulated: bool  # whether its cycles are a simulator's

    def read32(self, address: int) -> int:
        """The register at byte address `address`."""
        ...

    def write32(self, address: int, value: int) -> None:
        """Writes the register at byte address `address`."""
        ...

    def read(self, address: int, size: int) -> NDArray[np.uint8]:
        """A copy of `size` bytes of device memory."""
        ...

    def write(self, address: int, data: bytes | NDArray[np.uint8]) -> None:
        """Writes device memory."""
        ...

    def wait(self) -> bool:
        """Lets the device work: returns True as soon as its interrupt line is high, else False after about a second."""
        ...

    def close(self) -> None:
        """Gives the link back. Closing twice is allowed."""
        ...


@runtime_checkable
class Reporting(Protocol):
    """A transport whose writes take long enough to tell how far they are."""

    on_transfer: Callable[[int, int], None] | None  # called with bytes done, bytes in all


@runtime_checkable
class Traced(Protocol):
    """A transport, such as the simulator, that can tell when each engine started and retired its instructions."""

    def intervals(self) -> list[list[tuple[int, int]]]:
        """Per engine, in program order, (cycle of start, cycle of retirement) of what ran since `clear_trace`."""
        ...

    def clear_trace(self) -> None:
        """Forgets everything recorded so far."""
        ...


@runtime_checkable
class Stated(Traced, Protocol):
    """A Traced transport that can also tell what every engine did in every cycle."""

    def states(self) -> list[NDArray[np.int64]]:
        """Per engine, rows (cycle, 0 busy | 1 waits for input | 2 waits for room | 3 idle); empty if not recorded."""
        ...


@dataclass(frozen=True)
class Target:
    """A device named in text: ``scheme:name?key=value,key=value``."""

    scheme: str
    name: str
    options: Mapping[str, str]

    @property
    def board(self) -> Board | None:
        """Of a simulation, the board `name` with those options applied that are fields of its Config or its Memory.

        And ``clock``, its accelerator's in MHz; times of the Memory are cycles of the memory's own clock.
        Raises ConfigError if there is no such board, or none with those options.
        """
        if self.scheme != "sim":
            return None
        board = find(self.name)
        known = {*vars(board.config), "clock"}
        board = board.override({key: text for key, text in self.options.items() if key in known})
        timing = {key: number(key, text) for key, text in self.options.items() if key in vars(board.memory)}
        return replace(board, memory=replace(board.memory, **timing))


def number(key: str, text: str) -> int:
    """The whole number that is the value of option `key`. Raises DeviceError."""
    try:
        return int(text, 0)
    except ValueError:
        raise DeviceError(f"option {key} must be an integer, not {text!r}") from None


def parse_target(text: str) -> Target:
    """Raises DeviceError if `text` is not ``scheme:name?key=value,...``, or ``golden`` with or without options."""
    place, _, settings = text.partition("?")
    scheme, colon, name = place.partition(":")
    options: dict[str, str] = {}
    for setting in filter(None, settings.split(",")):
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise DeviceError(f"options are key=value, separated by commas, not {setting!r} in {text!r}")
        options[key] = value
    if place != "golden" and not (colon and scheme and name):
        raise DeviceError(f"a device is written scheme:name, for example sim:arty_a7, not {text!r}")
    return Target(scheme, name, options)


def open_transport(target: str | Target, wanted: Board | Config | None = None) -> Transport:
    """The transport of `target`, whose device is to be `wanted` if that is given.

    Raises DeviceError for an unknown scheme or one whose software is not installed.
    """
    where = parse_target(target) if isinstance(target, str) else target
    if where.scheme not in DEVICES:
        raise DeviceError(f"unknown device scheme {where.scheme!r}; known schemes: {', '.join(sorted(DEVICES))}")
    try:
        opener = provided(DEVICES[where.scheme], f"a device of scheme {where.scheme!r}")
    except UserError as error:
        raise DeviceError(str(error)) from error
    transport: Transport = opener(where, wanted)
    return transport

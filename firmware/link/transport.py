"""A link as the Transport that `firmware.device` drives."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from firmware.link.channel import Channel
from firmware.link.client import Link
from firmware.transport import DeviceError, StrangerError, Target, TransportError
from hw.boards.board import Board, config_and_memory
from hw.spec.config import Config
from hw.spec.link import CHECKSUM_LIMIT, Window
from hw.spec.regs import State, address

__all__ = ["LinkTransport", "open_link", "options"]

_WAIT = 1.0  # seconds `wait` looks for the end of a run
_COMPARED = 4096  # bytes from which on it is worth asking what is there already


class LinkTransport:
    """Registers and memory of the device at the end of `channel`. Raises LinkError if it cannot be greeted.

    Memory that already holds what is written, by its CRC-32, is not sent again. `on_transfer`, if set, is called with
    the bytes of a long write done so far and its size.
    """

    def __init__(self, channel: Channel) -> None:
        self.link = Link(channel)
        self.on_transfer: Callable[[int, int], None] | None = None
        self.identity = self.link.hello()
        self.memory_size, self.simulated = self.identity.memory_bytes, self.identity.simulated

    def read32(self, address: int) -> int:
        return self.link.read_register(Window.ACCELERATOR + address)

    def write32(self, address: int, value: int) -> None:
        self.link.write_registers([(Window.ACCELERATOR + address, value & 0xFFFFFFFF)])

    def read(self, address: int, size: int) -> NDArray[np.uint8]:
        self._range(address, size)
        return np.frombuffer(self.link.read_memory(address, size), np.uint8).copy()

    def write(self, address: int, data: bytes | NDArray[np.uint8]) -> None:
        raw = data if isinstance(data, bytes) else data.reshape(-1).view(np.uint8).tobytes()
        self._range(address, len(raw))
        if len(raw) < _COMPARED:
            self.link.write_memory(address, raw)
            return
        parts = [raw[at : at + CHECKSUM_LIMIT] for at in range(0, len(raw), CHECKSUM_LIMIT)]
        there = self.link.checksums(address, len(raw))
        for number, (part, found) in enumerate(zip(parts, there, strict=True)):
            before = number * CHECKSUM_LIMIT
            if zlib.crc32(part) != found:
                self.link.write_memory(address + before, part, partial(self._report, before, len(raw)))
            self._report(before, len(raw), len(part))

    def wait(self) -> bool:
        channel = self.link.channel
        end = channel.now() + _WAIT
        while channel.now() < end:
            if self.read32(address("status")) in (State.DONE, State.FAULT):
                return True
        return False

    def close(self) -> None:
        self.link.channel.close()

    def _report(self, before: int, size: int, done: int) -> None:
        if self.on_transfer is not None:
            self.on_transfer(before + done, size)

    def _range(self, address: int, size: int) -> None:
        if address < 0 or size < 0 or address + size > self.memory_size:
            raise TransportError(
                f"{size} bytes at {address:#x} lie outside the device memory of {self.memory_size:#x} bytes"
            )


def open_link(channel: Channel, wanted: Board | Config | None) -> LinkTransport:
    """Greets the device; closes `channel` if that fails, or if the device has not the fingerprint of `wanted`."""
    try:
        transport = LinkTransport(channel)
        found = transport.identity.fingerprint
        config = config_and_memory(wanted)[0] if wanted else None
        if config and found != config.fingerprint:
            raise StrangerError(
                f"expected fingerprint {config.fingerprint:#010x}, found {found:#010x} on {channel.name}; the device "
                "is built from another configuration or version"
            )
    except BaseException:
        channel.close()
        raise
    return transport


def options(target: Target, known: Mapping[str, str]) -> dict[str, str]:
    """The options of `target` over the defaults `known`. Raises DeviceError for an unknown one."""
    for key in target.options:
        if key not in known:
            names = ", ".join(known) or "none"
            raise DeviceError(f"unknown option {key!r} of a {target.scheme} device; known options: {names}")
    return {**known, **target.options}

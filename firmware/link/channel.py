"""What carries the bytes of a link: a serial port, a socket, a simulation."""

from __future__ import annotations

from typing import Protocol

from firmware.transport import TransportError

__all__ = ["Channel", "LinkError"]


class LinkError(TransportError):
    """The line is gone, or the device at its end does not answer as it should."""


class Channel(Protocol):
    """Bytes both ways, which may be lost, damaged, repeated or invented."""

    name: str  # for messages
    pace: float  # seconds a byte takes at best

    def send(self, data: bytes) -> None:
        """One frame to the device. Raises LinkError if the line is gone or takes nothing."""
        ...

    def receive(self, timeout: float) -> bytes:
        """What has come, after at most `timeout` seconds, or nothing. Raises LinkError if the line is gone."""
        ...

    def now(self) -> float:
        """Seconds, of the clock that `receive` waits by."""
        ...

    def close(self) -> None:
        """Gives the line back. Closing twice is allowed."""
        ...

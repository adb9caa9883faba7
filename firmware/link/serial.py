"""``serial:PORT[?baud=RATE]``: a UART, through pyserial."""

from __future__ import annotations

import contextlib
import errno
import time

import serial
from serial.tools import list_ports

from firmware.link.channel import LinkError
from firmware.link.transport import LinkTransport, open_link, options
from firmware.transport import DeviceError, Target
from hw.boards.board import Board
from hw.spec.config import Config
from hw.spec.link import BAUD

__all__ = ["SerialChannel", "open_transport"]

_BITS = 10  # of a byte on the line
_TICK = 0.01  # seconds the port waits for a byte; setting it anew each time would set up the port anew
_WRITE_TIMEOUT = 10.0  # seconds the port may take nothing
_REASONS = {
    errno.ENOENT: "there is no such port",
    errno.EACCES: "no permission: is the user in the port's group (often dialout)?",
    errno.EPERM: "no permission",
    errno.EBUSY: "another program uses it",
    errno.EAGAIN: "another program uses it",
    errno.ENOTTY: "it is not a serial port",
}


class SerialChannel:
    """8N1 on `port` at `baud`. Raises LinkError, in one sentence, for everything that can be wrong with a port."""

    def __init__(self, port: str, baud: int = BAUD) -> None:
        self.name = f"{port} at {baud} baud"
        self.pace = _BITS / baud
        try:
            self._port = serial.Serial(port, baud, timeout=_TICK, write_timeout=_WRITE_TIMEOUT, exclusive=True)
        except (OSError, ValueError) as error:
            raise LinkError(f"cannot open {port}: {_reason(error, port)}") from None
        # Without it an FTDI chip keeps short answers for 16 ms; other ports do not have it.
        with contextlib.suppress(OSError, ValueError, NotImplementedError):
            self._port.set_low_latency_mode(True)

    def send(self, data: bytes) -> None:
        try:
            self._port.write(data)
        except serial.SerialTimeoutException:
            raise LinkError(f"{self.name} takes no more bytes") from None
        except (OSError, TypeError) as error:  # pyserial's, of a port closed under it
            raise self._gone(error) from None

    def receive(self, timeout: float) -> bytes:
        end = self.now() + timeout
        try:
            while not (waiting := self._port.in_waiting) and self.now() < end:
                if first := self._port.read(1):
                    return bytes(first + self._port.read(self._port.in_waiting))
            return bytes(self._port.read(waiting))
        except (OSError, TypeError) as error:
            raise self._gone(error) from None

    def now(self) -> float:
        return time.monotonic()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._port.close()

    def _gone(self, error: Exception) -> LinkError:
        return LinkError(f"{self.name} is gone: was it unplugged? ({error})")


def _reason(error: OSError | ValueError, port: str) -> str:
    number = getattr(error, "errno", None)
    if number == errno.ENOENT:
        there = ", ".join(sorted(found.device for found in list_ports.comports())) or "none"
        return f"{_REASONS[number]}; ports: {there}"
    return _REASONS.get(number, str(error)) if number is not None else str(error).removeprefix(f"{port}: ")


def open_transport(target: Target, wanted: Board | Config | None = None) -> LinkTransport:
    """The device on serial port `target.name`."""
    given = options(target, {"baud": str(BAUD)})
    try:
        baud = int(given["baud"])
    except ValueError:
        raise DeviceError(f"baud must be a number, not {given['baud']!r}") from None
    return open_link(SerialChannel(target.name, baud), wanted)

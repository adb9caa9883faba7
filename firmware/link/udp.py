"""``udp:IP[:PORT]``: a frame a datagram."""

from __future__ import annotations

import socket
import time

from firmware.link.channel import LinkError
from firmware.link.transport import LinkTransport, open_link, options
from firmware.transport import DeviceError, Target
from hw.boards.board import Board
from hw.spec.config import Config
from hw.spec.link import UDP_PORT

__all__ = ["UDPChannel", "open_transport"]

_DATAGRAM = 2048
_PACE = 8 / 100e6  # of a byte at 100 Mb/s


class UDPChannel:
    """Datagrams to and from one address. Raises LinkError if there is no way to it."""

    def __init__(self, host: str, port: int = UDP_PORT) -> None:
        self.name = f"{host}:{port}"
        self.pace = _PACE
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.connect((host, port))
        except (OSError, OverflowError) as error:
            self._socket.close()
            raise LinkError(f"cannot reach {self.name}: {_text(error)}") from None

    def send(self, data: bytes) -> None:
        try:
            self._socket.send(data)
        except ConnectionRefusedError:
            pass  # an earlier datagram found nobody; the protocol's silences count them
        except OSError as error:
            raise LinkError(f"cannot send to {self.name}: {_text(error)}") from None

    def receive(self, timeout: float) -> bytes:
        try:
            self._socket.settimeout(max(timeout, 0.0))
            return self._socket.recv(_DATAGRAM)
        except (TimeoutError, BlockingIOError):
            return b""
        except ConnectionRefusedError:
            time.sleep(min(max(timeout, 0.0), 0.01))  # nobody is there, and says so at once
            return b""
        except OSError as error:
            raise LinkError(f"cannot receive from {self.name}: {_text(error)}") from None

    def now(self) -> float:
        return time.monotonic()

    def close(self) -> None:
        self._socket.close()


def _text(error: OSError | OverflowError) -> str:
    return getattr(error, "strerror", None) or str(error)


def open_transport(target: Target, wanted: Board | Config | None = None) -> LinkTransport:
    """The device at address `target.name`."""
    options(target, {})
    host, colon, port = target.name.partition(":")
    if colon and not (port.isdecimal() and 0 < int(port) < 1 << 16):
        raise DeviceError(f"a UDP port is a number from 1 to 65535, not {port!r}")
    return open_link(UDPChannel(host, int(port) if colon else UDP_PORT), wanted)

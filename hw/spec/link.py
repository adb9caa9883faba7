"""The host link: frames, operations, statuses and limits, for gateware, driver and manual alike.

A request is a header, and for WRITE_MEMORY a payload with its own check; so is a response, with a payload for
READ_MEMORY. Fields are little-endian. A check is the CRC-32 of the header but for its mark, or of the payload.
"""

from __future__ import annotations

import enum
import struct
import zlib
from typing import NamedTuple

__all__ = [
    "BAUD", "CHECKSUM_LIMIT", "CHECK_BYTES", "CRC_INIT", "CRC_POLYNOMIAL", "CRC_RESIDUE", "HEADER_BYTES", "HELLO_KEY",
    "MARK_REQUEST", "MARK_RESPONSE", "PAYLOAD_LIMIT", "RECEIVE_BYTES", "REQUEST", "RESPONSE", "SIMULATED", "TAG",
    "UDP_PORT", "VERSION", "WINDOW", "Field", "Op", "Response", "Status", "Window", "crc32", "frame", "pack_response",
    "unpack_response",
]  # fmt: skip

VERSION = 1
HELLO_KEY = 0x53484C00 | VERSION  # "SHL", then the version
MARK_REQUEST, MARK_RESPONSE = 0xA5, 0xC3  # first byte of a header
TAG = 0x5  # upper half of a request's second byte, so that few payload bytes look like a header
HEADER_BYTES, CHECK_BYTES = 16, 4
PAYLOAD_LIMIT = 1024  # bytes: 98 % of a line, and a frame fits a datagram
CHECKSUM_LIMIT = 1 << 16  # bytes one CHECKSUM may cover: it is answered within milliseconds
WINDOW = 16  # requests under way; the device remembers so many statuses
RECEIVE_BYTES = 2048  # what the device can store while it answers
BAUD = 4_000_000  # 12 MHz / 3 of an FT2232H and 100 MHz / 25 of the boards' clock, both exactly
UDP_PORT = 1234
SIMULATED = 1 << 15  # in `detail` of HELLO: whose cycles are counted takes no time of a clock

CRC_POLYNOMIAL = 0xEDB88320  # IEEE 802.3, least significant bit first; what zlib.crc32 computes
CRC_INIT = 0xFFFFFFFF
CRC_RESIDUE = 0xDEBB20E3  # the register after data and their check, before the final inversion


class Op(enum.IntEnum):
    HELLO = 1
    READ_REGISTER = 2
    WRITE_REGISTER = 3
    READ_MEMORY = 4
    WRITE_MEMORY = 5
    CHECKSUM = 6

    @property
    def doc(self) -> str:
        return _OPS[self]


_OPS = {
    Op.HELLO: "Opens a session: the next request is `sequence` + 1. `argument` is HELLO_KEY. Answers the fingerprint "
    "in `value`, and in `detail` the version (bits 14:8), log2 of the memory's bytes (bits 7:0), and in bit 15 whether "
    "a simulator serves it.",
    Op.READ_REGISTER: "Answers the register at `address` in `value`.",
    Op.WRITE_REGISTER: "Writes `argument` to the register at `address`.",
    Op.READ_MEMORY: "Answers `detail` = `argument` bytes from byte `address` on, then one byte, the final status, then "
    "their check.",
    Op.WRITE_MEMORY: "Writes the `argument` bytes that follow to byte `address` and on.",
    Op.CHECKSUM: "Answers in `value` the CRC-32 of `argument` bytes from byte `address` on.",
}


class Status(enum.IntEnum):
    OK = 0
    BUS = 1
    TIMEOUT = 2
    REFUSED = 3
    CORRUPT = 4
    ORDER = 5
    REPEATED = 6
    CLOSED = 7
    VERSION = 8

    @property
    def doc(self) -> str:
        return _STATUSES[self]


_STATUSES = {
    Status.OK: "Done.",
    Status.BUS: "Done, but the bus answered an error.",
    Status.TIMEOUT: "The bus did not answer.",
    Status.REFUSED: "Not done: unknown operation, or a number of bytes that is zero or above the limit.",
    Status.CORRUPT: "Not done: the payload was damaged; memory it was meant for may hold part of it. Send it again.",
    Status.ORDER: "Not done: `expected` comes next. If that is a later one, another host has opened a session.",
    Status.REPEATED: "Done before, in this session; `value` is its status then.",
    Status.CLOSED: "Not done: there is no session. The device was reset.",
    Status.VERSION: "Not done: HELLO with another key; `value` is the device's.",
}


class Window(enum.IntEnum):
    """First address of a window of registers; the highest bit decides."""

    ACCELERATOR = 0x0000_0000
    SHELL = 0x8000_0000

    @property
    def doc(self) -> str:
        return _WINDOWS[self]


_WINDOWS = {
    Window.ACCELERATOR: "The accelerator's (registers.md).",
    Window.SHELL: "The board shell's own, such as the memory controller's.",
}


class Field(NamedTuple):
    name: str
    bits: int
    doc: str


REQUEST = (
    Field("mark", 8, f"0x{MARK_REQUEST:02x}"),
    Field("op", 4, "operation"),
    Field("tag", 4, f"0x{TAG:x}"),
    Field("sequence", 16, "number of the request; the next one has the next number"),
    Field("address", 32, "byte address of a register or of memory"),
    Field("argument", 32, "value or number of bytes"),
    Field("check", 32, "CRC-32 of the 11 bytes between mark and check"),
)
RESPONSE = (
    Field("mark", 8, f"0x{MARK_RESPONSE:02x}"),
    Field("op", 4, "of the request"),
    Field("status", 4, "what became of it"),
    Field("sequence", 16, "of the request"),
    Field("expected", 16, "number of the next request: all before it are done"),
    Field("detail", 16, "bytes of payload that follow; HELLO: what the device is"),
    Field("value", 32, "result"),
    Field("check", 32, "CRC-32 of the 11 bytes between mark and check"),
)

_REQUEST, _RESPONSE, _CHECK = struct.Struct("<BBHII"), struct.Struct("<BBHHHI"), struct.Struct("<I")


class Response(NamedTuple):
    op: int
    status: Status
    sequence: int
    expected: int
    detail: int
    value: int

    @property
    def payload_bytes(self) -> int:
        """Bytes after the header: data, final status and check."""
        return self.detail + 1 + CHECK_BYTES if self.op == Op.READ_MEMORY and self.status == Status.OK else 0


def crc32(data: bytes | bytearray | memoryview) -> bytes:
    """The four bytes that follow `data`."""
    return _CHECK.pack(zlib.crc32(data))


def frame(op: Op, sequence: int, address: int = 0, argument: int = 0, payload: bytes = b"") -> bytes:
    """A request as it goes over the wire."""
    header = _REQUEST.pack(MARK_REQUEST, TAG << 4 | op, sequence, address, argument)
    return header + crc32(header[1:]) + (payload + crc32(payload) if payload else b"")


def pack_response(response: Response) -> bytes:
    """A response's header; the device's side of `unpack_response`."""
    op, status, *rest = response
    header = _RESPONSE.pack(MARK_RESPONSE, status << 4 | op, *rest)
    return header + crc32(header[1:])


def unpack_response(header: bytes) -> Response | None:
    """The response in 16 bytes, or None if they are not one."""
    if (
        len(header) != HEADER_BYTES
        or header[0] != MARK_RESPONSE
        or crc32(header[1:-CHECK_BYTES]) != header[-CHECK_BYTES:]
    ):
        return None
    _, kind, sequence, expected, detail, value = _RESPONSE.unpack(header[:-CHECK_BYTES])
    if kind >> 4 > max(Status):
        return None
    return Response(kind & 15, Status(kind >> 4), sequence, expected, detail, value)

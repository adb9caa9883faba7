"""Responses out of bytes that may be damaged anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from hw.spec.link import CHECK_BYTES, HEADER_BYTES, MARK_RESPONSE, PAYLOAD_LIMIT, Response, crc32, unpack_response

__all__ = ["Answer", "Deframer"]


class Answer(NamedTuple):
    """A response; `payload` is its data and final status, None if it has none or it is `damaged`."""

    response: Response
    payload: bytes | None
    damaged: bool


class Deframer:
    """Keeps what is not yet a whole frame. After damage nothing whole that follows is missed."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def clear(self) -> None:
        self._buffer.clear()

    def feed(self, data: bytes) -> Iterator[Answer]:
        """The answers completed by `data`."""
        buffer = self._buffer
        buffer += data
        while len(buffer) >= HEADER_BYTES:
            response = unpack_response(bytes(buffer[:HEADER_BYTES]))
            if response is None or response.payload_bytes > PAYLOAD_LIMIT + 1 + CHECK_BYTES:
                start = buffer.find(MARK_RESPONSE, 1)
                del buffer[: len(buffer) if start < 0 else start]
                continue
            end = HEADER_BYTES + response.payload_bytes
            if len(buffer) < end:
                return
            payload = bytes(buffer[HEADER_BYTES : end - CHECK_BYTES]) if end > HEADER_BYTES else None
            if payload is not None and crc32(payload) != buffer[end - CHECK_BYTES : end]:
                del buffer[:HEADER_BYTES]  # what follows may hold the next frame
                yield Answer(response, None, True)
                continue
            del buffer[:end]
            yield Answer(response, payload, False)

"""The host's end of the protocol: greeting, registers, memory."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

from firmware.link.channel import Channel, LinkError
from firmware.link.flight import ATTEMPTS, NUMBERS, PATIENCE, Flight, Line, Report, Request, Statistics, waiting_time
from hw.spec.link import (
    CHECKSUM_LIMIT,
    HEADER_BYTES,
    HELLO_KEY,
    PAYLOAD_LIMIT,
    REQUEST,
    SIMULATED,
    VERSION,
    WINDOW,
    Op,
    Response,
    Status,
    Window,
    frame,
)

__all__ = ["Identity", "Link"]

_ADDRESS_BITS = next(field.bits for field in REQUEST if field.name == "address")


@dataclass(frozen=True)
class Identity:
    """What a device says it is."""

    fingerprint: int
    memory_bytes: int
    simulated: bool  # by a program, which serves it as a board is served


class Link:
    """Executes requests over `channel`, each exactly once, whatever the line does to the bytes; or raises LinkError.

    Up to `WINDOW` requests are under way. Every wait has an end: after `ATTEMPTS` silences in a row, the link is
    given up. An error that the device's bus answered is raised when everything sent has been answered; after any other
    the session is lost, and with it whatever the device held: every request raises LinkError until the next `hello`.
    `patience`, in seconds over what the bytes under way should take, is longer than the device's own for the rest of a
    frame.
    """

    def __init__(self, channel: Channel, *, patience: float = PATIENCE, seed: int | None = None) -> None:
        self.channel = channel
        self.line = Line(channel, patience, channel.pace)
        self._random = random.Random(seed)

    @property
    def statistics(self) -> Statistics:
        return self.line.statistics

    def hello(self) -> Identity:
        """Opens a session. Raises LinkError if nobody answers, one of another version, or one that makes no sense."""
        try:
            return self._greet()
        except LinkError as error:
            self.line.lost = str(error)  # what was sent may have opened another session
            raise

    def read_register(self, address: int) -> int:
        return self.transact((), (address,))[0]

    def write_registers(self, pairs: Iterable[tuple[int, int]]) -> None:
        """(address, value) pairs, in order."""
        self.transact(pairs, ())

    def transact(self, writes: Iterable[tuple[int, int]], reads: Iterable[int]) -> list[int]:
        """Writes registers, (address, value) in order, then reads some: all under way at once."""
        requests = [Request(Op.WRITE_REGISTER, address, value) for address, value in writes]
        wanted = [Request(Op.READ_REGISTER, address, 0) for address in reads]
        self._run(requests + wanted)
        return [request.value for request in wanted]

    def read_memory(self, address: int, size: int, report: Report | None = None) -> bytes:
        """`report` is called with the bytes so far."""
        ends = range(0, size, PAYLOAD_LIMIT)
        wanted = [Request(Op.READ_MEMORY, address + at, min(PAYLOAD_LIMIT, size - at)) for at in ends]
        done = self._run(wanted, report)
        self.line.statistics.read += size
        return b"".join(request.data for request in done)

    def write_memory(self, address: int, data: bytes, report: Report | None = None) -> None:
        parts = ((at, data[at : at + PAYLOAD_LIMIT]) for at in range(0, len(data), PAYLOAD_LIMIT))
        self._run([Request(Op.WRITE_MEMORY, address + at, len(part), part) for at, part in parts], report)
        self.line.statistics.written += len(data)

    def checksums(self, address: int, size: int) -> list[int]:
        """CRC-32 of each `CHECKSUM_LIMIT` bytes of `size` bytes of memory."""
        wanted = [
            Request(Op.CHECKSUM, address + at, min(CHECKSUM_LIMIT, size - at)) for at in range(0, size, CHECKSUM_LIMIT)
        ]
        return [request.value for request in self._run(wanted)]

    def _greet(self) -> Identity:
        """Twice, with different numbers: an answer to the first may be one that a host before was to have."""
        begun = None
        for attempt in range(ATTEMPTS):
            wait = waiting_time(self.line, self.line.left, attempt)
            self._forget(wait)
            number = self._random.randrange(NUMBERS)
            other = (number + 1 + self._random.randrange(NUMBERS - 1)) % NUMBERS
            if self._hello(other, wait) is None or (answer := self._hello(number, wait)) is None:
                continue
            identity = self._welcome(answer, number)
            if answer.expected == self.line.next:
                return identity
            begun = answer.expected  # its last session began with the same number; once
        if begun is None:
            raise LinkError(f"nothing answers on {self.channel.name}: is the board configured, and is this its line?")
        raise LinkError(
            f"the device on {self.channel.name} answers every HELLO with a session of other numbers: request {begun} "
            f"and not {self.line.next} is to be the next, so it does not work right"
        )

    def _hello(self, number: int, wait: float) -> Response | None:
        before = self.channel.now()
        self.channel.send(frame(Op.HELLO, number, 0, HELLO_KEY))
        answer = self._answer(Op.HELLO, number, before + wait)
        if answer is not None:
            self.line.pace = max(self.channel.pace, (self.channel.now() - before) / (2 * HEADER_BYTES))
        return answer

    def _forget(self, seconds: float) -> None:
        """Drops whatever is still coming from before; a line that is never quiet does so for `seconds`."""
        end = self.channel.now() + seconds
        while self.channel.receive(0) and self.channel.now() < end:
            pass
        self.line.deframer.clear()

    def _answer(self, op: Op, number: int, deadline: float) -> Response | None:
        while (left := deadline - self.channel.now()) > 0:
            for answer in self.line.deframer.feed(self.channel.receive(left)):
                if answer.response.op == op and answer.response.sequence == number:
                    return answer.response
        return None

    def _welcome(self, response: Response, number: int) -> Identity:
        version = response.detail >> 8 & 0x7F
        if response.status is not Status.OK or version != VERSION:
            found = response.value & 0xFF if response.status is Status.VERSION else version
            raise LinkError(
                f"the device on {self.channel.name} speaks version {found} of the protocol, this host {VERSION}"
            )
        self.line.next = (number + 1) % NUMBERS
        self.line.left, self.line.lost = 0, ""
        memory = response.detail & 0xFF
        if memory > _ADDRESS_BITS:
            raise LinkError(
                f"the device on {self.channel.name} says it has 2**{memory} bytes of memory, and addresses have "
                f"{_ADDRESS_BITS} bits: it does not work right"
            )
        return Identity(response.value, 1 << memory, bool(response.detail & SIMULATED))

    def _resume(self) -> None:
        """Opens another session, if the device is still in this host's: else what it holds may not be this host's."""
        for attempt in range(ATTEMPTS):
            wait = waiting_time(self.line, self.line.left, attempt)
            self.channel.send(frame(Op.READ_REGISTER, self.line.next, Window.ACCELERATOR, 0))
            answer = self._answer(Op.READ_REGISTER, self.line.next, self.channel.now() + wait)
            if answer is not None:
                ahead = (self.line.next + 1 - answer.expected) % NUMBERS  # of it: what was under way may be lost
                if answer.status is not Status.CLOSED and ahead <= WINDOW + 1:
                    self.hello()
                    return
                break
        self.line.lost = "the device was reset, or another host used it, after an interruption"
        raise LinkError(f"open {self.channel.name} again and load the model: {self.line.lost}")

    def _run(self, requests: list[Request], report: Report | None = None) -> list[Request]:
        if self.line.lost:
            raise LinkError(f"open {self.channel.name} again and load the model: {self.line.lost}")
        if self.line.left:  # an exception ended the last flight: what it left under way must not be mistaken
            self._resume()
        Flight(self.line, requests, report).run()
        return requests

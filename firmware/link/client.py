"""The host's end of the protocol: requests under way, answers, what to send again and when to give up."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from firmware.link.channel import Channel, LinkError
from firmware.link.deframer import Answer, Deframer
from hw.spec.link import (
    CHECK_BYTES,
    CHECKSUM_LIMIT,
    HEADER_BYTES,
    HELLO_KEY,
    PAYLOAD_LIMIT,
    VERSION,
    WINDOW,
    Op,
    Response,
    Status,
    frame,
)

__all__ = ["Identity", "Link", "Statistics"]

_READS = (Op.READ_REGISTER, Op.READ_MEMORY, Op.CHECKSUM)  # done again they do no harm
_FINAL = (Status.OK, Status.BUS, Status.TIMEOUT, Status.REFUSED)
_NUMBERS = 1 << 16
_PATIENCE = 0.1  # seconds; the boards' bridge forgets half a frame after 10 ms
_LONGEST = 5.0  # seconds of silence before sending again
_ATTEMPTS = 7  # without any progress
_DOUBLINGS = 3  # of the wait
_RENEWALS = 32  # of one read
_MARGIN = 3  # times what the bytes under way took lately

Report = Callable[[int], None]


@dataclass(frozen=True)
class Identity:
    """What a device says it is."""

    fingerprint: int
    memory_bytes: int


@dataclass
class Statistics:
    """Of one link, since it was opened."""

    requests: int = 0
    repeated: int = 0  # frames sent again
    silences: int = 0  # times nothing came in time
    damaged: int = 0  # payloads with a wrong check
    refused: int = 0  # requests the device saw damaged or out of order
    written: int = 0  # bytes of memory
    read: int = 0


@dataclass
class _Request:
    op: Op
    address: int
    argument: int
    payload: bytes = b""
    sequence: int = -1  # not sent yet
    sent: int = 0  # times, with this number
    renewed: int = 0  # times it was given another number
    value: int = 0
    data: bytes = b""

    @property
    def line_bytes(self) -> int:
        """Of the request and its answer."""
        payload = self.argument if self.op in (Op.READ_MEMORY, Op.WRITE_MEMORY) else 0
        return 2 * HEADER_BYTES + payload + CHECK_BYTES


class Link:
    """Executes requests over `channel`, each exactly once, whatever the line does to the bytes; or raises LinkError.

    Up to `WINDOW` requests are under way. Every wait has an end: after `_ATTEMPTS` silences in a row, the link is
    given up. An error that the device's bus answered is raised when everything sent has been answered. `patience`, in
    seconds over what the bytes under way should take, is longer than the device's own for the rest of a frame.
    """

    def __init__(self, channel: Channel, *, patience: float = _PATIENCE, seed: int | None = None) -> None:
        self.channel, self.patience = channel, patience
        self.statistics = Statistics()
        self._random = random.Random(seed)
        self._deframer = Deframer()
        self._next = 0
        self._pace = channel.pace  # seconds a byte took lately
        self._settled = False  # is nothing under way

    def hello(self) -> Identity:
        """Opens a session. Raises LinkError if nobody answers, or one of another version."""
        for attempt in range(_ATTEMPTS):
            wait = min(_LONGEST, self.patience * 2 ** min(attempt, _DOUBLINGS))
            self._forget()
            number = self._random.randrange(_NUMBERS)
            before = self.channel.now()
            self.channel.send(frame(Op.HELLO, number, 0, HELLO_KEY))
            answer = self._greeting(number, before + wait)
            if answer is not None:
                self._pace = max(self.channel.pace, (self.channel.now() - before) / (2 * HEADER_BYTES))
                return self._welcome(answer, number)
        raise LinkError(f"nothing answers on {self.channel.name}: is the board configured, and is this its line?")

    def read_register(self, address: int) -> int:
        return self._run([_Request(Op.READ_REGISTER, address, 0)])[0].value

    def write_registers(self, pairs: Iterable[tuple[int, int]]) -> None:
        """(address, value) pairs, in order."""
        self._run([_Request(Op.WRITE_REGISTER, address, value) for address, value in pairs])

    def read_memory(self, address: int, size: int, report: Report | None = None) -> bytes:
        """`report` is called with the bytes so far."""
        ends = range(0, size, PAYLOAD_LIMIT)
        wanted = [_Request(Op.READ_MEMORY, address + at, min(PAYLOAD_LIMIT, size - at)) for at in ends]
        done = self._run(wanted, report)
        self.statistics.read += size
        return b"".join(request.data for request in done)

    def write_memory(self, address: int, data: bytes, report: Report | None = None) -> None:
        parts = ((at, data[at : at + PAYLOAD_LIMIT]) for at in range(0, len(data), PAYLOAD_LIMIT))
        self._run([_Request(Op.WRITE_MEMORY, address + at, len(part), part) for at, part in parts], report)
        self.statistics.written += len(data)

    def checksums(self, address: int, size: int) -> list[int]:
        """CRC-32 of each `CHECKSUM_LIMIT` bytes of `size` bytes of memory."""
        wanted = [
            _Request(Op.CHECKSUM, address + at, min(CHECKSUM_LIMIT, size - at)) for at in range(0, size, CHECKSUM_LIMIT)
        ]
        return [request.value for request in self._run(wanted)]

    def _forget(self) -> None:
        """Drops whatever is still coming from before."""
        while self.channel.receive(0):
            pass
        self._deframer.clear()
        self._settled = True

    def _greeting(self, number: int, deadline: float) -> Response | None:
        while (left := deadline - self.channel.now()) > 0:
            for answer in self._deframer.feed(self.channel.receive(left)):
                if answer.response.op == Op.HELLO and answer.response.sequence == number:
                    return answer.response
        return None

    def _welcome(self, response: Response, number: int) -> Identity:
        version = response.detail >> 8
        if response.status is not Status.OK or version != VERSION:
            found = response.value & 0xFF if response.status is Status.VERSION else version
            raise LinkError(
                f"the device on {self.channel.name} speaks version {found} of the protocol, this host {VERSION}"
            )
        self._next = (number + 1) % _NUMBERS
        if response.expected != self._next:
            return self.hello()  # its last session began with the same number
        return Identity(response.value, 1 << (response.detail & 0xFF))

    def _run(self, requests: list[_Request], report: Report | None = None) -> list[_Request]:
        if not self._settled:  # an exception ended the last run: what it left under way must not be mistaken
            self.hello()
        self._settled = False
        _Run(self, requests, report).to_the_end()
        self._settled = True
        return requests


class _Run:
    """One list of requests, from the first sent to the last answered."""

    def __init__(self, link: Link, requests: list[_Request], report: Report | None) -> None:
        self.link, self.report = link, report
        self.waiting = deque(requests)
        self.flight: dict[int, _Request] = {}  # by number, in order
        self.returned_to: int | None = None  # number whose loss has been dealt with
        self.done = self.attempts = 0
        self.error: str | None = None
        self.latest = link.channel.now()  # when something was last sent into silence, or came

    def to_the_end(self) -> None:
        link = self.link
        while self.waiting or self.flight:
            while self.waiting and self._room() and not self.error:
                self._send_next()
            if not self.flight:
                break
            left = self.latest + self._patience() - link.channel.now()
            if left <= 0:
                self._silence()
                continue
            for answer in link._deframer.feed(link.channel.receive(left)):
                self._take(answer)
        if self.error:
            link._settled = True
            raise LinkError(self.error)

    def _room(self) -> bool:
        """Does the device still know the status of the oldest request under way, when one more has been executed?"""
        return not self.flight or (self.link._next - next(iter(self.flight))) % _NUMBERS < WINDOW

    def _patience(self) -> float:
        line_bytes = sum(request.line_bytes for request in self.flight.values())
        return min(
            _LONGEST,
            (self.link.patience + _MARGIN * self.link._pace * line_bytes) * 2 ** min(self.attempts, _DOUBLINGS),
        )

    def _send_next(self) -> None:
        request = self.waiting.popleft()
        if not self.flight:
            self.latest = self.link.channel.now()
        request.sequence, request.sent = self.link._next, 0
        self.link._next = (self.link._next + 1) % _NUMBERS
        self.flight[request.sequence] = request
        self.link.statistics.requests += 1
        self._send(request)

    def _send(self, request: _Request) -> None:
        request.sent += 1
        if request.sent > 1:
            self.link.statistics.repeated += 1
        self.link.channel.send(
            frame(request.op, request.sequence, request.address, request.argument, request.payload)
        )  # fmt: skip

    def _silence(self) -> None:
        """Nothing came in time: everything under way once more; the device knows what it has done."""
        self.link.statistics.silences += 1
        self.attempts += 1
        if self.attempts >= _ATTEMPTS:
            first = next(iter(self.flight.values()))
            raise LinkError(
                f"{self.link.channel.name} does not answer any more: {first.op.name} at {first.address:#x} was sent "
                f"{first.sent} times"
            )
        self._go_back(next(iter(self.flight)))
        self.latest = self.link.channel.now()

    def _go_back(self, number: int) -> None:
        numbers = list(self.flight)
        for sequence in numbers[numbers.index(number) :]:
            self._send(self.flight[sequence])
        self.returned_to = number

    def _take(self, answer: Answer) -> None:
        response = answer.response
        request = self.flight.get(response.sequence)
        if request is None or response.op != request.op:
            return  # an answer to what has been answered before
        if response.status is Status.CLOSED:
            raise LinkError(f"the device on {self.link.channel.name} was reset: open it again and load the model")
        if response.status in (Status.CORRUPT, Status.ORDER):
            self._refused(response)
        elif response.status is Status.REPEATED:
            if request.op not in _READS:
                self._finish(request, Status(response.value & 15), 0, b"")
            elif request.sent > 1:
                self._again(request)
        elif answer.damaged:
            self.link.statistics.damaged += 1
            self._again(request)
        elif response.status in _FINAL:
            status: Status = response.status
            data = answer.payload or b""
            if answer.payload is not None:
                status, data = Status(data[-1] & 15), data[:-1]
            self._finish(request, status, response.value, data)
            self._lost_before(response.sequence)

    def _refused(self, response: Response) -> None:
        """Go back to what is missing, unless that has been done since."""
        self.link.statistics.refused += 1
        if response.expected in self.flight:
            if response.expected != self.returned_to:
                self._go_back(response.expected)
        elif (self.link._next - response.expected) % _NUMBERS > 2 * WINDOW:  # else it is late
            raise LinkError(
                f"the device on {self.link.channel.name} waits for request {response.expected}, which this host has "
                "not sent or has seen answered: does another host use it?"
            )

    def _lost_before(self, number: int) -> None:
        """All before an executed request have been executed: their answers were lost, so ask again."""
        earlier = [r for n, r in self.flight.items() if (number - n) % _NUMBERS <= WINDOW and n != number]
        for request in earlier:
            if request.op in _READS:
                self._again(request)
            elif request.sent == 1:
                self._send(request)  # answered REPEATED, with its status

    def _again(self, request: _Request) -> None:
        """A read whose answer is lost is a new request."""
        if request.renewed >= _RENEWALS:
            raise LinkError(f"the answers of {self.link.channel.name} keep arriving damaged")
        request.renewed += 1
        del self.flight[request.sequence]
        self.waiting.appendleft(request)

    def _finish(self, request: _Request, status: Status, value: int, data: bytes) -> None:
        del self.flight[request.sequence]
        now, link = self.link.channel.now(), self.link
        if request.sent == 1 and not self.attempts:
            took = (now - self.latest) / request.line_bytes
            link._pace = max(link.channel.pace, link._pace + (took - link._pace) / 4)
        self.latest, self.attempts = now, 0
        if request.sequence == self.returned_to:
            self.returned_to = None
        request.value, request.data = value, data
        if status is not Status.OK:
            self.error = self.error or self._trouble(request, status)
        elif request.op is Op.READ_MEMORY and len(data) != request.argument:
            self.error = (
                self.error or f"{request.argument} bytes were asked for at {request.address:#x}, {len(data)} came"
            )
        self.done += request.argument if request.op in (Op.READ_MEMORY, Op.WRITE_MEMORY) else 0
        if self.report is not None:
            self.report(self.done)

    def _trouble(self, request: _Request, status: Status) -> str:
        what = f"{request.op.name} at {request.address:#x}"
        where = self.link.channel.name
        if status is Status.BUS:
            return f"{what} on {where}: the device's bus answered an error"
        if status is Status.TIMEOUT:
            return f"{what} on {where}: the device's bus does not answer; is its memory initialised?"
        return f"{what} on {where}: the device refused it ({status.name})"

"""Requests under way: what was sent, what was answered, what to send again and when to give up."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from firmware.link.channel import Channel, LinkError
from firmware.link.deframer import Answer, Deframer
from hw.spec.link import CHECK_BYTES, HEADER_BYTES, WINDOW, Op, Response, Status, frame

__all__ = ["ATTEMPTS", "NUMBERS", "PATIENCE", "Flight", "Line", "Report", "Request", "Statistics", "waiting_time"]

NUMBERS = 1 << 16
PATIENCE = 0.1  # seconds; the boards' bridge forgets half a frame after 10 ms
ATTEMPTS = 7  # without any progress
_DOUBLINGS = 3  # of the wait
_LONGEST = 5.0  # seconds of silence before sending again
_MARGIN = 3  # times what the bytes under way took lately
_RENEWALS = 32  # of one read
_READS = (Op.READ_REGISTER, Op.READ_MEMORY, Op.CHECKSUM)  # done again they do no harm
_FINAL = (Status.OK, Status.BUS, Status.TIMEOUT, Status.REFUSED)

Report = Callable[[int], None]


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
class Line:
    """A channel and what is known of it. `pace`: seconds a byte took lately."""

    channel: Channel
    patience: float
    pace: float
    next: int = 0  # number of the next request
    left: int = 0  # bytes that an interrupted flight may have left under way
    lost: str = ""  # why the session ended
    deframer: Deframer = field(default_factory=Deframer)
    statistics: Statistics = field(default_factory=Statistics)


def waiting_time(line: Line, line_bytes: int, attempt: int) -> float:
    """Seconds until silence means loss, with so many bytes under way."""
    return min(_LONGEST, (line.patience + _MARGIN * line.pace * line_bytes) * 2 ** min(attempt, _DOUBLINGS))


@dataclass
class Request:
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
        """Of the request and its answer; for what the device reads meanwhile, a part."""
        share = {Op.READ_MEMORY: 1.0, Op.WRITE_MEMORY: 1.0, Op.CHECKSUM: 0.25}.get(self.op, 0.0)
        return 2 * HEADER_BYTES + int(share * self.argument) + CHECK_BYTES


class Flight:
    """One list of requests, from the first sent to the last answered."""

    def __init__(self, line: Line, requests: list[Request], report: Report | None) -> None:
        self.line, self.report = line, report
        self.waiting = deque(requests)
        self.flight: dict[int, Request] = {}  # by number, in order
        self.returned_to: int | None = None  # number whose loss has been dealt with
        self.done = self.attempts = 0
        self.smooth = True  # nothing was lost since the last answer
        self.error: str | None = None
        self.latest = line.channel.now()  # when something was last sent into silence, or came

    def run(self) -> None:
        """Raises LinkError; if not because of the device's bus, the session is lost with it."""
        try:
            self._to_the_end()
        except LinkError as error:
            self.line.lost = str(error)
            raise
        finally:
            self.line.left = self._line_bytes()
        if self.error:
            raise LinkError(self.error)

    def _to_the_end(self) -> None:
        line = self.line
        while self.waiting or self.flight:
            while self.waiting and self._room() and not self.error:
                self._send_next()
            if not self.flight:
                break
            left = self.latest + waiting_time(line, self._line_bytes(), self.attempts) - line.channel.now()
            if left <= 0:
                self._silence()
                continue
            for answer in line.deframer.feed(line.channel.receive(left)):
                self._take(answer)

    def _room(self) -> bool:
        """Does the device still know the status of the oldest request under way, when one more has been executed?"""
        return not self.flight or (self.line.next - next(iter(self.flight))) % NUMBERS < WINDOW

    def _line_bytes(self) -> int:
        return sum(request.line_bytes for request in self.flight.values())

    def _send_next(self) -> None:
        request = self.waiting.popleft()
        if not self.flight:
            self.latest = self.line.channel.now()
        request.sequence, request.sent = self.line.next, 0
        self.line.next = (self.line.next + 1) % NUMBERS
        self.flight[request.sequence] = request
        self.line.statistics.requests += 1
        self._send(request)

    def _send(self, request: Request) -> None:
        request.sent += 1
        if request.sent > 1:
            self.line.statistics.repeated += 1
            self.smooth = False
        self.line.channel.send(
            frame(request.op, request.sequence, request.address, request.argument, request.payload)
        )  # fmt: skip

    def _silence(self) -> None:
        """Nothing came in time: everything under way once more; the device knows what it has done."""
        self.line.statistics.silences += 1
        self.attempts += 1
        if self.attempts >= ATTEMPTS:
            first = next(iter(self.flight.values()))
            raise LinkError(
                f"{self.line.channel.name} does not answer any more: {first.op.name} at {first.address:#x} was sent "
                f"{first.sent} times"
            )
        self._go_back(next(iter(self.flight)))
        self.latest = self.line.channel.now()

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
            raise LinkError(f"the device on {self.line.channel.name} was reset: open it again and load the model")
        if response.status in (Status.CORRUPT, Status.ORDER):
            self._refused(response)
        elif response.status is Status.REPEATED:
            if request.op not in _READS:
                self._finish(request, self._final(request, response.value), 0, b"")
            elif request.sent > 1:
                self._again(request)
        elif answer.damaged:
            self.line.statistics.damaged += 1
            self._again(request)
        elif response.status in _FINAL:
            status: Status = response.status
            data = answer.payload or b""
            if answer.payload is not None:
                status, data = self._final(request, data[-1]), data[:-1]
            self._finish(request, status, response.value, data)
            self._lost_before(response.sequence)

    def _final(self, request: Request, word: int) -> Status:
        """What `word` says became of the request."""
        if word & 15 not in _FINAL:
            raise LinkError(
                f"the device on {self.line.channel.name} ended {request.op.name} at {request.address:#x} with status "
                f"{word & 15}, which is none of an end: it does not work right"
            )
        return Status(word & 15)

    def _refused(self, response: Response) -> None:
        """Go back to what is missing, unless that has been done since."""
        self.line.statistics.refused += 1
        passed = 0 < (response.expected - response.sequence) % NUMBERS < NUMBERS // 2  # in another session
        if response.expected in self.flight and not passed:
            if response.expected != self.returned_to:
                self._go_back(response.expected)
        elif passed or (self.line.next - response.expected) % NUMBERS > 2 * WINDOW:  # else it is late
            raise LinkError(
                f"the device on {self.line.channel.name} waits for request {response.expected}, which this host has "
                "not sent or has seen answered: does another host use it?"
            )

    def _lost_before(self, number: int) -> None:
        """All before an executed request have been executed: their answers were lost, so ask again."""
        earlier = [r for n, r in self.flight.items() if (number - n) % NUMBERS <= WINDOW and n != number]
        for request in earlier:
            if request.op in _READS:
                self._again(request)
            elif request.sent == 1:
                self._send(request)  # answered REPEATED, with its status

    def _again(self, request: Request) -> None:
        """A read whose answer is lost is a new request."""
        if request.renewed >= _RENEWALS:
            raise LinkError(f"the answers of {self.line.channel.name} keep arriving damaged")
        request.renewed += 1
        self.smooth = False
        del self.flight[request.sequence]
        self.waiting.appendleft(request)

    def _finish(self, request: Request, status: Status, value: int, data: bytes) -> None:
        del self.flight[request.sequence]
        now, line = self.line.channel.now(), self.line
        if self.smooth:
            took = (now - self.latest) / request.line_bytes
            line.pace = max(line.channel.pace, line.pace + (took - line.pace) / 4)
        self.latest, self.attempts, self.smooth = now, 0, True
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

    def _trouble(self, request: Request, status: Status) -> str:
        what = f"{request.op.name} at {request.address:#x}"
        where = self.line.channel.name
        if status is Status.BUS:
            return f"{what} on {where}: the device's bus answered an error"
        if status is Status.TIMEOUT:
            return f"{what} on {where}: the device's bus does not answer; was its memory started (firmware dram)?"
        return f"{what} on {where}: the device refused it ({status.name})"

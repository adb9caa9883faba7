"""Long sessions over a line with faults, hosts that die, come back or meet, and resets: exact results or one error.

The device is the compiled gateware of bridge and UART or datagrams with a small machine behind it (`sim.board.bench`):
registers that count what is written to them, and a memory.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from typing import Any

from bench.trust.campaign import Campaign, expect
from firmware.link.channel import Channel, LinkError
from firmware.link.client import Link
from sim.board.bench import COUNT, SUM, open_link_bench
from sim.board.faulty import FaultyChannel

__all__ = ["PATIENCE", "SPACE", "Accesses", "Sessions"]

PATIENCE = 3e-5  # seconds: 3,000 cycles, and the bridge of the bench forgets half a frame after 1,024
SPACE = 1 << 16  # bytes of memory in use
_OTHER = SPACE + 4096  # where a second host writes
_TRIES = 50

# of a line, faults per byte, per datagram, and the largest transfer that gets through
_LINES = (
    ("uart", 1 / 80, 0.0, 100), ("uart", 1 / 300, 0.0, 300), ("uart", 1 / 1000, 0.0, 3000),
    ("udp", 1 / 400, 0.1, 200), ("udp", 1 / 400, 0.1, 200), ("udp", 1 / 2000, 0.2, 1000),
)  # fmt: skip


class Accesses:
    """Random accesses against a copy of what the device, whose registers are zero, must hold."""

    def __init__(self, channel: Any, seed: int, largest: int) -> None:
        self.channel, self.largest = channel, largest
        self.link = Link(channel, patience=PATIENCE, seed=seed)
        self.random = random.Random(seed)
        self.memory = bytearray(channel.channel.simulation.memory[:SPACE])
        self.count = self.total = 0
        self.errors: list[str] = []
        self.greet()

    def greet(self) -> None:
        """A line this bad may even swallow every greeting."""
        for _ in range(_TRIES):
            try:
                self.link.hello()
            except LinkError as error:
                self.failed(error)
            else:
                return
        raise AssertionError(f"{_TRIES} greetings failed: {self.errors[-1]}")

    def failed(self, error: LinkError) -> None:
        """Of whatever fails."""
        text = str(error)
        self.errors.append(text)
        expect("\n" not in text and len(text) < 200, f"not a sentence: {text!r}")

    def step(self) -> None:
        action = self.random.choice((self.write, self.write, self.read, self.read, self.ring, self.ring, self.compare))
        try:
            action()
        except LinkError as error:
            self.failed(error)
            self.greet()

    def piece(self) -> tuple[int, int]:
        size = self.random.choice((1, 7, 16, 33, 50, self.largest))
        return self.random.randrange(SPACE - size), size

    def write(self) -> None:
        at, size = self.piece()
        data = self.random.randbytes(size)
        self.memory[at : at + size] = data
        try:
            self.link.write_memory(at, data)
        except LinkError as error:
            self.failed(error)
            self.greet()
            self.again(lambda: self.link.write_memory(at, data))  # what a failed write has left there is anything

    def again(self, action: Callable[[], Any]) -> Any:
        """Until it succeeds."""
        for _ in range(_TRIES):
            try:
                return action()
            except LinkError as error:
                self.failed(error)
                self.greet()
        raise AssertionError(f"it failed {_TRIES} times: {self.errors[-1]}")

    def read(self) -> None:
        at, size = self.piece()
        expect(self.link.read_memory(at, size) == self.memory[at : at + size], f"other {size} bytes read from {at:#x}")

    def compare(self) -> None:
        at, size = self.piece()
        wanted = [zlib.crc32(self.memory[at : at + size])]
        expect(self.link.checksums(at, size) == wanted, f"another checksum of {size} bytes from {at:#x}")

    def ring(self) -> None:
        """Doorbells: each value is counted once, or after an error perhaps not at all, but in order."""
        values = [self.random.randrange(1 << 20) for _ in range(self.random.randrange(1, 9))]
        whole = True
        try:
            self.link.write_registers([(COUNT, value) for value in values])
        except LinkError as error:
            whole = False
            self.failed(error)
            self.greet()
        self.settled(self.registers(), values, whole)

    def settled(self, found: tuple[int, int], values: list[int], whole: bool) -> None:
        """Registers after the doorbells `values`."""
        done = len(values) if whole else found[0] - self.count
        expect(0 <= done <= len(values), f"{done} of {len(values)} doorbells counted")
        self.count += done
        self.total = (self.total + sum(values[:done])) & 0xFFFFFFFF
        expect(found == (self.count, self.total), f"registers {found}, not {(self.count, self.total)}")

    def registers(self) -> tuple[int, int]:
        return self.again(lambda: (self.link.read_register(COUNT), self.link.read_register(SUM)))


class _Line(FaultyChannel):
    """Once, before the byte number `at` that is sent, something happens."""

    at: int | None = None
    happening: Callable[[], None]

    def send(self, data: bytes) -> None:
        if self.at is not None:
            self.at -= len(data)
            if self.at < 0:
                self.at = None
                self.happening()
        super().send(data)


class _Session(Accesses):
    """Accesses during which things happen: its host is killed and another goes on, one comes between, a reset."""

    def __init__(self, channel: _Line, seed: int, largest: int) -> None:
        self.happened: dict[str, int] = {}
        self.frozen: bytes | None = None  # memory when another host took the session,
        self.taken, self.stale = (0, 0), False  # and the registers, which are to be compared
        self.other = b""
        super().__init__(channel, seed, largest)

    def happen(self) -> None:
        """Within the next accesses."""
        kind = self.random.choice(("killed", "reset", "two hosts"))
        self.happened[kind] = self.happened.get(kind, 0) + 1
        if kind == "killed":
            self.channel.unplug_after = self.random.randrange(200)
        else:
            self.channel.at = self.random.randrange(400)
            self.channel.happening = self._reset if kind == "reset" else self._two_hosts

    def _reset(self) -> None:
        self.channel.channel.simulation.reset()
        self.taken = self.count, self.total = 0, 0

    def _two_hosts(self) -> None:
        """Another host opens a session, on a line without faults, rings, writes and reads, and leaves."""
        link = Link(self.channel.channel, patience=PATIENCE, seed=self.random.randrange(1 << 30))
        link.hello()
        value, self.other = self.random.randrange(1 << 20), self.random.randbytes(self.random.randrange(1, 300))
        link.write_registers([(COUNT, value)])
        link.write_memory(_OTHER, self.other)
        expect(
            link.read_memory(_OTHER, len(self.other)) == self.other, "the second host reads other bytes than it wrote"
        )
        self.taken = link.read_register(COUNT), link.read_register(SUM)
        self.count, self.total = self.count + 1, (self.total + value) & 0xFFFFFFFF
        self.frozen = bytes(self.channel.channel.simulation.memory[:SPACE])

    def failed(self, error: LinkError) -> None:
        super().failed(error)
        if self.frozen is not None:  # what the first host sent since belongs to no session
            expect(bytes(self.channel.channel.simulation.memory[:SPACE]) == self.frozen, "a stale session wrote memory")
            self.frozen, self.stale = None, True
        if self.channel.unplug_after is not None and self.channel.unplug_after < 0:  # another host, of other numbers
            self.channel.unplug_after = None
            self.link = Link(self.channel, patience=PATIENCE, seed=self.random.randrange(1 << 30))

    def greet(self) -> None:
        super().greet()
        if self.stale:
            self.stale = False
            found = self.registers()
            expect(found == self.taken, f"a stale session rang: {found}, not {self.taken}")

    def settled(self, found: tuple[int, int], values: list[int], whole: bool) -> None:
        """A reset since the doorbells were counted has forgotten them."""
        super().settled(found, [] if whole and found == (0, 0) == (self.count, self.total) else values, whole)


class Sessions(Campaign):
    """A session of a hundred to two hundred accesses each, into which something happens every twenty of them."""

    name, title, counted, goal, block = "link", "sessions over UART and UDP", "faults", 100_000, 10
    sources = ("hw/link", "hw/spec/link.py", "firmware/link", "sim/board", "sim/verilated")

    def __init__(self) -> None:
        super().__init__()
        self._channels: dict[str, Channel] = {}

    def close(self) -> None:
        for channel in self._channels.values():
            channel.close()

    def case(self, seed: int) -> None:
        draw = random.Random(seed)
        kind, rate, shuffle, largest = draw.choice(_LINES)
        if kind not in self._channels:
            self._channels[kind] = open_link_bench(kind)
        inner: Any = self._channels[kind]
        inner.simulation.reset()
        inner.simulation.memory[:] = 0
        line = _Line(inner, rate=rate, shuffle=shuffle, seed=seed)
        session = _Session(line, seed, largest)
        for number in range(operations := draw.randrange(100, 200)):
            if number % 20 == 19:
                session.happen()
            session.step()
        line.rate, line.shuffle, line.at, line.unplug_after = 0, 0.0, None, None
        session.again(session.greet)
        session.ring()
        whole = bytes(inner.simulation.memory)
        expect(whole[:SPACE] == bytes(session.memory), "memory is not what was written")
        expect(whole[_OTHER : _OTHER + len(session.other)] == session.other, "the second host's memory is another")
        self.counts["faults"] += line.faults
        self.counts[f"faults over {kind}"] += line.faults
        self.counts["operations"] += operations
        self.counts["errors, a sentence each"] += len(session.errors)
        self.counts.update({f"{what} in mid-session": count for what, count in session.happened.items()})
        self.counts.update({f"sessions over {kind}": 1})

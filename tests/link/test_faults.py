"""Damaged bytes, unplugged lines and resets: the driver on the gateware gives exact results or one error, and ends."""

import random
import zlib

import pytest

from firmware.link.channel import LinkError
from firmware.link.client import Link
from sim.board.bench import COUNT, SUM, open_link_bench
from tests.support.link import FaultyChannel

FAULTS = 10_000
PATIENCE = 3e-5  # seconds: 3,000 cycles, and the bridge of the bench forgets half a frame after 1,024
SPACE = 1 << 16  # bytes of memory in use


class Campaign:
    """Random accesses against a copy of what the device must hold."""

    def __init__(self, channel, seed, largest):
        self.largest = largest
        self.link = Link(channel, patience=PATIENCE, seed=seed)
        self.random = random.Random(seed)
        self.memory = bytearray(channel.channel.simulation.memory[:SPACE])
        self.count = self.total = 0
        self.errors = []
        self.greet()

    def greet(self):
        """A line this bad may even swallow every greeting."""
        for _ in range(20):
            try:
                return self.link.hello()
            except LinkError as error:
                self.errors.append(str(error))
        raise AssertionError(f"twenty greetings failed: {self.errors[-1]}")

    def step(self):
        action = self.random.choice((self.write, self.write, self.read, self.read, self.ring, self.ring, self.compare))
        try:
            action()
        except LinkError as error:
            self.errors.append(str(error))
            self.greet()

    def piece(self):
        size = self.random.choice((1, 7, 16, 33, 50, self.largest))
        return self.random.randrange(SPACE - size), size

    def write(self):
        at, size = self.piece()
        data = self.random.randbytes(size)
        before = bytes(self.memory[at : at + size])
        self.memory[at : at + size] = data
        try:
            self.link.write_memory(at, data)
        except LinkError as error:
            self.errors.append(str(error))
            self.greet()
            self.settle(at, data, before)

    def settle(self, at, data, before):
        """What a failed write has left is anything, but only where it was to write; write again until it succeeds."""
        for _ in range(50):
            try:
                return self.link.write_memory(at, data)
            except LinkError as error:
                self.errors.append(str(error))
                self.greet()
        raise AssertionError(f"fifty writes of {len(before)} bytes failed")

    def read(self):
        at, size = self.piece()
        assert self.link.read_memory(at, size) == self.memory[at : at + size]

    def compare(self):
        at, size = self.piece()
        assert self.link.checksums(at, size) == [zlib.crc32(self.memory[at : at + size])]

    def ring(self):
        """Doorbells: each value is counted once, or after an error perhaps not at all, but in order."""
        values = [self.random.randrange(1 << 20) for _ in range(self.random.randrange(1, 9))]
        try:
            self.link.write_registers([(COUNT, value) for value in values])
            done = len(values)
        except LinkError as error:
            self.errors.append(str(error))
            self.greet()
            done = None
        count, total = self.registers()
        if done is None:
            done = count - self.count
            assert 0 <= done <= len(values)
        self.count += done
        self.total = (self.total + sum(values[:done])) & 0xFFFFFFFF
        assert (count, total) == (self.count, self.total)

    def registers(self):
        for _ in range(50):
            try:
                return self.link.read_register(COUNT), self.link.read_register(SUM)
            except LinkError as error:
                self.errors.append(str(error))
                self.greet()
        raise AssertionError("fifty register reads failed")


@pytest.mark.parametrize(
    ("link", "rate", "shuffle", "largest", "share"),
    [
        pytest.param("uart", 1 / 80, 0, 100, 0.35, id="a bad line"),
        pytest.param("uart", 1 / 1000, 0, 3000, 0.05, id="large transfers"),
        pytest.param("udp", 1 / 400, 0.1, 200, 0.6, id="datagrams"),
    ],
)
def test_no_fault_is_a_wrong_result(link, rate, shuffle, largest, share):
    """Together `FAULTS` of them; the line then works again, and memory is what it should be, byte for byte."""
    channel = FaultyChannel(open_link_bench(link), rate=rate, shuffle=shuffle, seed=1)
    simulation = channel.channel.simulation
    campaign = Campaign(channel, seed=2, largest=largest)
    while channel.faults < FAULTS * share:
        campaign.step()
    channel.rate = channel.shuffle = 0
    campaign.greet()
    campaign.ring()
    assert bytes(simulation.memory[:SPACE]) == bytes(campaign.memory)
    assert not simulation.memory[SPACE:].any()
    print(link, rate, channel.faults, len(campaign.errors), campaign.link.statistics, simulation.cycle)
    for error in campaign.errors:
        assert len(error) < 200
        assert "\n" not in error

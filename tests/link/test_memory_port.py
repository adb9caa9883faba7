"""Bytes to and from words: which words are asked for and when, and bad, late and missing answers."""

import random

import pytest

from hw.link.memory_port import MemoryPort
from hw.spec.link import Status
from tests.support.streams import simulate

LANES, BUS_CYCLES = 4, 64
MEMORY = random.Random(0).randbytes(256)
NEVER = 10**6


class Bus:
    """Answers reads and writes of `MEMORY`, one at a time, and holds the port to that.

    `latency` is a number of cycles or a function of the access's number; accesses in `errors` answer an error.
    Addresses beyond `limit` of them are not taken.
    """

    def __init__(self, dut, *, latency=3, errors=(), limit=NEVER):
        self.dut, self.errors, self.limit = dut, errors, limit
        self.latency = latency if callable(latency) else lambda _number: latency
        self.memory = bytearray(MEMORY)
        self.asked = []  # word addresses, of reads and writes
        self.due = None  # cycles until the answer
        self.held = None

    async def run(self, ctx):
        dut = self.dut
        read, write = dut.bus.read, dut.bus.write
        answering = None
        while True:
            taking = len(self.asked) < self.limit and self.due is None
            for port in (read.ar, write.aw, write.w):
                ctx.set(port.ready, taking)
            ctx.set(read.r.valid, answering == "read")
            ctx.set(write.b.valid, answering == "write")
            if answering:
                number, address = len(self.asked) - 1, self.asked[-1]
                ctx.set(read.r.p.data, int.from_bytes(self.memory[address : address + LANES], "little"))
                ctx.set(read.r.p.error, number in self.errors)
                ctx.set(write.b.p.error, number in self.errors)
            _, _, ar, ar_address, aw, aw_address, w, values, strobe = await ctx.tick().sample(
                read.ar.valid, read.ar.p.address, write.aw.valid, write.aw.p.address,
                write.w.valid, write.w.p.data, write.w.p.strobe,
            )  # fmt: skip
            requests = [("read", ar_address)] * ar + [("write", aw_address)] * aw
            assert len(requests) <= 1
            assert not (self.held and self.held != requests), "a request changed while it waited"
            if answering:
                self.due = answering = None
            elif self.due is not None:
                assert not requests, "asked before the answer"
                self.due -= 1
                answering = self.way if self.due <= 0 else None
            elif requests and taking:
                self.way, address = requests[0]
                self.asked.append(address)
                self.due = self.latency(len(self.asked) - 1)
                if self.way == "write":
                    assert w
                    for lane in range(LANES):
                        if strobe >> lane & 1:
                            self.memory[address + lane] = values >> 8 * lane & 0xFF
            self.held = None if taking else requests


class Port:
    """A transfer's side of the port, in a testbench."""

    def __init__(self, dut, ctx):
        self.dut, self.ctx = dut, ctx

    async def start(self, address, count, *, write=False):
        dut, ctx = self.dut, self.ctx
        ctx.set(dut.start.p, {"write": write, "address": address, "count": count})
        ctx.set(dut.start.valid, 1)
        cycles = 0
        while not ctx.get(dut.start.ready):
            assert ctx.get(dut.busy)
            await ctx.tick()
            cycles += 1
        await ctx.tick()
        ctx.set(dut.start.valid, 0)
        return cycles

    async def take(self, count, *, pace=1):
        """`count` bytes, one every `pace` cycles at most, and how long the port made its taker wait, byte by byte."""
        dut, ctx, found, waits = self.dut, self.ctx, bytearray(), []
        for _ in range(count):
            if pace > 1:
                await ctx.tick().repeat(pace - 1)
            ctx.set(dut.o.ready, 1)
            waits.append(0)
            while not ctx.get(dut.o.valid):
                assert ctx.get(dut.busy)
                await ctx.tick()
                waits[-1] += 1
            found.append(ctx.get(dut.o.p))
            await ctx.tick()
            ctx.set(dut.o.ready, 0)
        return bytes(found), waits

    async def give(self, values):
        dut, ctx = self.dut, self.ctx
        for value in values:
            ctx.set(dut.i.p, value)
            ctx.set(dut.i.valid, 1)
            while not ctx.get(dut.i.ready):
                await ctx.tick()
            await ctx.tick()
            ctx.set(dut.i.valid, 0)
        while ctx.get(dut.busy):
            await ctx.tick()
        return self.status

    async def abort(self):
        """Pulses ``abort`` and returns how many cycles more the port was busy."""
        dut, ctx = self.dut, self.ctx
        ctx.set(dut.abort, 1)
        await ctx.tick()
        ctx.set(dut.abort, 0)
        cycles = 0
        while ctx.get(dut.busy):
            assert not ctx.get(dut.o.valid)
            await ctx.tick()
            cycles += 1
        return cycles

    @property
    def busy(self):
        return bool(self.ctx.get(self.dut.busy))

    @property
    def status(self):
        return Status(self.ctx.get(self.dut.status))


def run(bench, **bus):
    """Runs ``bench(port, bus)`` on a port with 32-bit words."""
    dut = MemoryPort(word_bits=8 * LANES, bus_cycles=BUS_CYCLES)
    bus = Bus(dut, **bus)

    async def testbench(ctx):
        await bench(Port(dut, ctx), bus)
        await ctx.tick().repeat(10)

    simulate(dut, testbench, background=[bus.run])
    return bus


def words(address, count):
    return list(range(address // LANES * LANES, address + count, LANES))


SPANS = [(at, count) for at in (0, 1, 3, 8) for count in (1, 2, 3, 4, 5, 7, 8, 9, 16, 17)]


@pytest.mark.parametrize("latency", [1, 7])
@pytest.mark.parametrize("pace", [1, 5])
def test_every_span_and_no_word_more(latency, pace):
    async def bench(port, bus):
        for address, count in SPANS:
            bus.asked.clear()
            await port.start(address, count)
            found, _ = await port.take(count, pace=pace)
            assert found == MEMORY[address : address + count]
            assert not port.busy
            assert port.status is Status.OK
            assert bus.asked == words(address, count)

    run(bench, latency=latency)


@pytest.mark.parametrize("address", [0, 3])
def test_only_the_first_byte_waits_for_the_bus(address):
    """A word takes its taker 32 cycles and the bus 20."""

    async def bench(port, _bus):
        await port.start(address, 40)
        found, waits = await port.take(40, pace=8)
        assert found == MEMORY[address : address + 40]
        assert waits[0] > 0
        if address == 0:
            assert not any(waits[1:])
        else:  # the first word has one byte
            assert not any(waits[2:])

    run(bench, latency=20)


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_an_error_anywhere_decides_the_status(bad):
    """Only its own word is affected, and the rest is read; an error of the word asked for ahead is not lost."""

    async def bench(port, bus):
        await port.start(0, 12)
        first, _ = await port.take(1)
        assert port.status is (Status.BUS if bad == 0 else Status.OK)
        rest, _ = await port.take(11, pace=6)
        good = [at for at in range(12) if at // LANES != bad]
        assert [(first + rest)[at] for at in good] == [MEMORY[at] for at in good]
        assert port.status is Status.BUS
        assert bus.asked == words(0, 12)
        await port.start(4, 4)  # and of this transfer only
        assert (await port.take(4))[0] == MEMORY[4:8]
        assert port.status is Status.OK

    run(bench, errors=[bad])


@pytest.mark.parametrize("late", [BUS_CYCLES + 20, BUS_CYCLES + 150])
def test_a_word_asked_for_ahead_that_does_not_come(late):
    """The word before it is right and the rest is anything; nothing is asked for until the late answer, dropped.

    That comes while the rest is delivered, or in the transfer after it.
    """

    async def bench(port, bus):
        await port.start(0, 16)
        assert (await port.take(4))[0] == MEMORY[:4]
        assert port.status is Status.OK
        await port.take(4, pace=BUS_CYCLES // 4)
        assert port.status is Status.TIMEOUT
        if late < BUS_CYCLES + 100:
            await port.take(8, pace=5)
        else:
            await port.take(8)
            assert not port.busy
            assert await port.start(32, 16) == 0
            await port.take(16, pace=8)
        assert port.status is Status.TIMEOUT
        assert not port.busy
        assert bus.asked == [0, 4]
        assert bus.due is None
        await port.start(8, 8)
        assert (await port.take(8))[0] == MEMORY[8:16]
        assert port.status is Status.OK
        assert bus.asked == [0, 4, 8, 12]

    run(bench, latency=lambda number: late if number == 1 else 3)


def test_a_timeout_after_an_error():
    """What is not answered makes the rest unknown, so it is told."""

    async def bench(port, bus):
        await port.start(0, 12)
        await port.take(12)
        assert port.status is Status.TIMEOUT
        assert bus.asked == [0, 4]

    run(bench, errors=[0], latency=lambda number: NEVER if number == 1 else 3)


def test_an_address_that_is_not_taken_stays():
    async def bench(port, bus):
        await port.start(0, 12)
        await port.take(12)
        for _ in range(2):
            assert port.status is Status.TIMEOUT
            assert await port.start(64, 8) == 0
            await port.take(8)
        bus.limit = NEVER
        await port.ctx.tick().repeat(10)
        assert bus.asked == [0, 4]
        await port.start(64, 8)
        assert (await port.take(8))[0] == MEMORY[64:72]

    run(bench, limit=1)


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_an_abort_waits_for_the_word_asked_for_ahead(taken):
    """Then the port is ready, and the next transfer's words are its own."""

    async def bench(port, bus):
        await port.start(0, 12)
        await port.take(taken)
        while len(bus.asked) < 2:
            await port.ctx.tick()
        assert await port.abort() > 0
        assert not bus.due
        assert await port.start(20, 6) == 0
        assert (await port.take(6))[0] == MEMORY[20:26]
        assert port.status is Status.OK
        assert bus.asked == [0, 4, 20, 24]

    run(bench, latency=20, errors=[1])


def test_an_abort_whose_word_never_comes():
    async def bench(port, bus):
        await port.start(0, 12)
        await port.take(1)
        assert BUS_CYCLES - 4 <= await port.abort() <= BUS_CYCLES + 4
        for _ in range(2):
            assert await port.start(20, 6) == 0
            await port.take(6)
            assert port.status is Status.TIMEOUT
        assert bus.asked == [0, 4]

    run(bench, latency=lambda number: NEVER if number == 1 else 3)


def test_an_abort_with_nothing_asked_for_ahead_is_over_at_once():
    async def bench(port, bus):
        for count in (3, 4):
            await port.start(0, count)
            await port.take(count - 1)
            assert await port.abort() == 0
        await port.start(0, 5)
        await port.take(4)
        while not port.ctx.get(port.dut.o.valid):
            await port.ctx.tick()
        assert await port.abort() == 0
        await port.ctx.tick().repeat(20)
        assert bus.asked == [0, 0, 0, 4]

    run(bench)


@pytest.mark.parametrize("latency", [1, 7])
def test_writes(latency):
    async def bench(port, bus):
        draw = random.Random(1)
        for address, count in SPANS:
            values, before = draw.randbytes(count), bytes(bus.memory)
            bus.asked.clear()
            await port.start(address, count, write=True)
            assert await port.give(values) is Status.OK
            assert bus.memory == before[:address] + values + before[address + count :]
            assert bus.asked == words(address, count)

    run(bench, latency=latency)


def test_writes_that_fail():
    async def bench(port, bus):
        await port.start(0, 12, write=True)
        assert await port.give(bytes(12)) is Status.BUS
        assert bus.asked == [0, 4, 8]
        await port.start(0, 12, write=True)
        assert await port.give(bytes(12)) is Status.TIMEOUT  # of its first word
        await port.start(16, 4)
        await port.take(4)
        assert port.status is Status.TIMEOUT
        assert bus.asked == [0, 4, 8, 0]
        while bus.due is not None:
            await port.ctx.tick()
        await port.start(32, 4, write=True)
        assert await port.give(b"abcd") is Status.OK
        assert bus.memory[28:40] == MEMORY[28:32] + b"abcd" + MEMORY[36:40]

    run(bench, errors=[1], latency=lambda number: 2 * BUS_CYCLES if number == 3 else 3)

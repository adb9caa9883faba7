# amaranth: UnusedElaboratable=no
"""The serial line: receiver and transmitter face to face, and the receiver against bad lines."""

import random
from itertools import pairwise

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring

from hw.link.uart import UART, UARTReceiver, UARTTransmitter
from tests.support.streams import simulate


class Loop(wiring.Component):
    def __init__(self, divisor):
        self.uart = UART(divisor=divisor)
        super().__init__({"i": self.uart.signature.members["i"], "o": self.uart.signature.members["o"]})

    def elaborate(self, _):
        m = Module()
        m.submodules.uart = uart = self.uart
        m.d.comb += uart.rx.eq(uart.tx)
        wiring.connect(m, wiring.flipped(self.i), uart.i)
        wiring.connect(m, uart.o, wiring.flipped(self.o))
        return m


@pytest.mark.parametrize("divisor", [4, 5, 9, 25])
def test_every_byte_back_to_back(divisor):
    """All bytes, at exactly ten bits each, kept in the FIFO until they are taken."""
    dut, data = Loop(divisor), list(range(256))

    async def send(ctx):
        for byte in data:
            ctx.set(dut.i.p.data, byte)
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
        ctx.set(dut.i.valid, 0)

    async def receive(ctx):
        await ctx.tick().repeat(10 * divisor * (len(data) + 1) + 20)
        ctx.set(dut.o.ready, 1)
        for byte in data:
            *_, valid, got = await ctx.tick().sample(dut.o.valid, dut.o.p.data)
            assert (valid, got) == (1, byte)

    simulate(dut, send, receive)


async def drive(ctx, line, level, cycles):
    ctx.set(line, level)
    await ctx.tick().repeat(cycles)


async def drive_byte(ctx, line, byte, times):
    """`times`: cycles of each of the ten bits."""
    for bit, cycles in zip((0, *(byte >> n & 1 for n in range(8)), 1), times, strict=True):
        await drive(ctx, line, bit, cycles)


def run_receiver(divisor, scenario):
    """Bytes that a receiver makes of what ``scenario(ctx, line)`` does to its line."""
    dut, got, over = UARTReceiver(divisor=divisor), [], []

    async def source(ctx):
        ctx.set(dut.line, 1)
        await ctx.tick().repeat(3 * divisor)
        await scenario(ctx, dut.line)
        await drive(ctx, dut.line, 1, 12 * divisor)
        over.append(True)

    async def sink(ctx):
        while not over:
            *_, valid, byte = await ctx.tick().sample(dut.o.valid, dut.o.p.data)
            if valid:
                got.append(byte)

    simulate(dut, source, sink)
    return got


@pytest.mark.parametrize("skew", [-0.04, 0.04])
def test_a_clock_four_percent_off(skew):
    divisor, data = 25, random.Random(1).randbytes(40)

    async def scenario(ctx, line):
        for byte in data:
            edges = [round(n * divisor * (1 + skew)) for n in range(11)]
            await drive_byte(ctx, line, byte, [b - a for a, b in pairwise(edges)])

    assert bytes(run_receiver(divisor, scenario)) == data


def test_glitches_are_not_start_bits():
    async def scenario(ctx, line):
        for _ in range(20):
            await drive(ctx, line, 0, 1)
            await drive(ctx, line, 1, 7)
        await drive(ctx, line, 0, 6)  # long enough to be seen, too short for a start bit
        await drive(ctx, line, 1, 300)
        await drive_byte(ctx, line, 0x5A, [25] * 10)

    assert run_receiver(25, scenario) == [0x5A]


def test_a_break_is_no_byte_and_ends():
    async def scenario(ctx, line):
        await drive(ctx, line, 0, 40 * 25)
        await drive(ctx, line, 1, 25)
        await drive_byte(ctx, line, 0xC3, [25] * 10)

    assert run_receiver(25, scenario) == [0xC3]


@pytest.mark.parametrize("unit", [UART, UARTReceiver, UARTTransmitter])
def test_divisors_are_checked(unit):
    with pytest.raises(ValueError, match="divisor must be from 4 to 65535 cycles per bit, not 3"):
        unit(divisor=3)


def test_a_glitch_of_a_cycle_is_not_seen():
    """Wherever in a byte it is: the line is the other way round for one cycle."""
    divisor, byte, got = 8, 0x53, []
    dut = UARTReceiver(divisor=divisor)
    levels = [bit for bit in (0, *(byte >> n & 1 for n in range(8)), 1) for _ in range(divisor)]

    async def send(ctx):
        await drive(ctx, dut.line, 1, 20)
        for place in range(len(levels)):
            for cycle, level in enumerate(levels):
                await drive(ctx, dut.line, level ^ (cycle == place), 1)
            await drive(ctx, dut.line, 1, 2 * divisor)

    async def receive(ctx):
        async for _, _, valid, data in ctx.tick().sample(dut.o.valid, dut.o.p.data):
            if valid:
                got.append(int(data))

    simulate(dut, send, background=[receive])
    assert got == [byte] * len(levels)


def test_a_reset_in_any_cycle_of_a_byte_forgets_it():
    """A byte of ones, so that what follows the reset on the line is a line at rest."""
    divisor, came = 4, []

    def line(cycle):
        return 0 if cycle < divisor else 1

    for at in range(1, 12 * divisor):
        dut, reset = UARTReceiver(divisor=divisor), Signal()

        async def bench(ctx, dut=dut, reset=reset, at=at):
            before = 0
            for cycle in range(24 * divisor):
                ctx.set(dut.line, line(cycle))
                ctx.set(reset, cycle == at)
                await ctx.tick()
                if cycle < at:
                    before += ctx.get(dut.o.valid)
                elif at > 2 * divisor:  # the start bit is over
                    assert not ctx.get(dut.o.valid)
            came.append(before)

        simulate(dut, bench, reset=reset)
    assert came[0] == 0
    assert came[-1] == 1

"""Standard pin names: what they say of a burst, both ways, and which responses are errors."""

import itertools

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring

from hw.axi.pins import axi_pins, bus_of_pins, connect_axi_pins, pins_of
from hw.axi.signature import AXI4
from tests.support.streams import plain, simulate

REQUESTS = {
    "write.aw": {"address": 0x89ABCDE8, "last": 0x5A},
    "read.ar": {"address": 0xFEDCBA98, "last": 0xA5, "id": 2},
}
FORWARD = {**REQUESTS, "write.w": {"data": 0x0123456789ABCDEF, "strobe": 0x5C, "last": 1}}
BACK = {"read.r": {"data": 0xFEDCBA9876543210, "id": 3, "error": 1, "last": 1}, "write.b": {"error": 1}}


def pins_and_bus(word_bits=64):
    return pins_of(wiring.Signature(axi_pins(word_bits)).create(), "m_axi_"), AXI4(word_bits, 2).create()


def stream_of(bus, name):
    direction, channel = name.split(".")
    return getattr(getattr(bus, direction), channel)


@pytest.mark.parametrize(("word_bits", "size"), [(32, 2), (64, 3), (128, 4)])
def test_a_managers_bursts(word_bits, size):
    """INCR bursts of whole words, bufferable and not to be cached; unprivileged, secure data; writes have id 0."""
    pins, bus = pins_and_bus(word_bits)
    m = Module()
    connect_axi_pins(m, pins, bus)

    async def bench(ctx):
        for name, request in REQUESTS.items():
            ctx.set(stream_of(bus, name).payload, request)
            channel = name[-2:]
            told = {part: ctx.get(pins[channel + part]) for part in ("addr", "len", "id")}
            assert told == {"addr": request["address"], "len": request["last"], "id": request.get("id", 0)}
            told = {part: ctx.get(pins[channel + part]) for part in ("size", "burst", "lock", "cache", "prot")}
            assert told == {"size": size, "burst": 1, "lock": 0, "cache": 3, "prot": 0}
        await ctx.tick()

    simulate(m, bench)


@pytest.mark.parametrize("name", REQUESTS)
def test_requests_pass_while_they_may(name):
    """Neither side sees a handshake that the other does not."""
    pins, bus = pins_and_bus()
    m, enable = Module(), Signal()
    connect_axi_pins(m, pins, bus, enable=enable)

    async def bench(ctx):
        request, channel = stream_of(bus, name), name[-2:]
        for valid, ready, may in itertools.product((0, 1), repeat=3):
            ctx.set(request.valid, valid)
            ctx.set(pins[f"{channel}ready"], ready)
            ctx.set(enable, may)
            assert ctx.get(pins[f"{channel}valid"]) == (valid and may)
            assert ctx.get(request.ready) == (ready and may)
            await ctx.tick()

    simulate(m, bench)


@pytest.mark.parametrize(("code", "error"), [(0b00, 0), (0b01, 0), (0b10, 1), (0b11, 1)])
def test_which_responses_are_errors(code, error):
    """SLVERR and DECERR, not OKAY and EXOKAY, of either channel."""
    pins, bus = pins_and_bus()
    m = Module()
    connect_axi_pins(m, pins, bus)

    async def bench(ctx):
        for channel, name in (("r", "read.r"), ("b", "write.b")):
            ctx.set(pins[f"{channel}resp"], code)
            told = {other: ctx.get(stream_of(bus, other).p.error) for other in BACK}
            assert told == dict.fromkeys(BACK, 0) | {name: error}
            ctx.set(pins[f"{channel}resp"], 0)
            await ctx.tick()

    simulate(m, bench)


def test_there_and_back():
    """What a manager says, through its pins, is what the bus beyond says; an error is SLVERR between."""
    pins, bus = pins_and_bus()
    beyond, m = AXI4(64, 2).create(), Module()
    connect_axi_pins(m, pins, bus)
    bus_of_pins(m, pins, beyond)

    async def bench(ctx):
        for ways, source, to in ((FORWARD, bus, beyond), (BACK, beyond, bus)):
            for name, content in ways.items():
                given, got = stream_of(source, name), stream_of(to, name)
                for valid, ready in itertools.product((0, 1), repeat=2):
                    ctx.set(given.valid, valid)
                    ctx.set(got.ready, ready)
                    assert (ctx.get(got.valid), ctx.get(given.ready)) == (valid, ready)
                ctx.set(given.payload, content)
                assert plain(ctx.get(got.payload)) == content
        await ctx.tick()
        assert [ctx.get(pins[f"{channel}resp"]) for channel in ("r", "b")] == [0b10, 0b10]

    simulate(m, bench)

# amaranth: UnusedElaboratable=no
"""Requests out of damaged bytes: what is whole is found, and nothing else is."""

import random

import pytest
from amaranth.hdl import Signal

from hw.link.deframer import Deframer
from hw.spec.link import Op, frame
from tests.support.streams import simulate

GAP = 64


def run_deframer(chunks, *, packets=False, gap_after=(), silence=2 * GAP + 5, reset_after=(), pressure=0.0, seed=0):
    """Headers as (op, sequence, address, argument), each with (payload, end) if it has one, of bytes in `chunks`.

    After the chunks in `gap_after` the line is silent, for longer than the deframer waits unless it is said; after
    those in `reset_after` it is reset.
    """
    dut, rng, found, reset = Deframer(gap_cycles=GAP), random.Random(seed), [], Signal()

    async def source(ctx):
        for number, chunk in enumerate(chunks):
            for index, byte in enumerate(chunk):
                ctx.set(dut.i.p, {"data": byte, "last": packets and index == len(chunk) - 1})
                ctx.set(dut.i.valid, 1)
                await ctx.tick().until(dut.i.ready)
                ctx.set(dut.i.valid, 0)
                while rng.random() < pressure:
                    await ctx.tick()
            if number in gap_after:
                await ctx.tick().repeat(silence)
            if number in reset_after:
                ctx.set(reset, 1)
                await ctx.tick()
                ctx.set(reset, 0)
        await ctx.tick().repeat(2 * GAP + 40)

    async def sink(ctx):
        ctx.set(dut.payload.ready, 1)
        ctx.set(dut.end.ready, 1)
        while True:
            ctx.set(dut.header.ready, rng.random() >= pressure)
            *_, header, ready, head, follows, payload, byte, end, good = await ctx.tick().sample(
                dut.header.valid, dut.header.ready, dut.header.p, dut.follows, dut.payload.valid, dut.payload.p,
                dut.end.valid, dut.end.p,
            )  # fmt: skip
            if header and ready:
                found.append([(head.op, head.sequence, head.address, head.argument)])
                if follows:
                    found[-1].append(bytearray())
            if payload:
                found[-1][1].append(byte)
            if end:
                found[-1].append(bool(good))

    total = sum(map(len, chunks))
    simulate(dut, source, sink, until=(8 if pressure else 1) * total + (len(chunks) + 3) * 3 * GAP, reset=reset)
    return found


READ = frame(Op.READ_REGISTER, 0x1234, 0xA5A5A5A5, 0)
DATA = bytes(range(40))
WRITE = frame(Op.WRITE_MEMORY, 0xA5A5, 0x55A5, len(DATA), DATA)
READ_FOUND = [(Op.READ_REGISTER, 0x1234, 0xA5A5A5A5, 0)]
WRITE_FOUND = [(Op.WRITE_MEMORY, 0xA5A5, 0x55A5, 40), bytearray(DATA), True]


@pytest.mark.parametrize("pressure", [0.0, 0.5])
@pytest.mark.parametrize("packets", [False, True])
def test_whole_frames(pressure, packets):
    found = run_deframer([READ, WRITE, WRITE, READ], packets=packets, pressure=pressure)
    assert found == [READ_FOUND, WRITE_FOUND, WRITE_FOUND, READ_FOUND]


def test_garbage_before_a_frame_is_passed_over():
    noise = bytes(random.Random(5).choices([b for b in range(256) if b != 0xA5], k=200))
    assert run_deframer([noise, READ, noise, WRITE, b"\xa5\x00\xa5", READ[1:], READ]) == [
        READ_FOUND, WRITE_FOUND, READ_FOUND, READ_FOUND,
    ]  # fmt: skip


@pytest.mark.parametrize("at", range(16))
def test_a_flipped_header_bit_is_no_header(at):
    bad = bytearray(READ)
    bad[at] ^= 0x10
    found = run_deframer([bad, READ], gap_after={0})
    assert found == [READ_FOUND]


@pytest.mark.parametrize("at", [16, 30, 55, 56, 59])
def test_a_flipped_payload_bit_is_told(at):
    bad = bytearray(WRITE)
    bad[at] ^= 1
    found = run_deframer([bad, READ])
    assert found[0][2] is False
    assert found[1:] == [READ_FOUND]


@pytest.mark.parametrize("size", [1, 2, 15, 16, 20, 56, 59])
def test_a_frame_that_stops_is_forgotten_after_the_gap(size):
    found = run_deframer([WRITE[:size], WRITE], gap_after={0})
    assert found[-1] == WRITE_FOUND
    assert all(entry[2] is False for entry in found[:-1])


@pytest.mark.parametrize("size", [1, 2, 15, 16, 20, 56, 59])
def test_a_frame_that_pauses_for_less_goes_on(size):
    assert run_deframer([WRITE[:size], WRITE[size:]], gap_after={0}, silence=GAP - 2) == [WRITE_FOUND]


@pytest.mark.parametrize("size", [1, 2, 15, 16, 20, 56, 59])
def test_reset_in_mid_frame(size):
    """The next frame may come at once."""
    found = run_deframer([WRITE[:size], WRITE], reset_after={0})
    assert found[-1] == WRITE_FOUND
    assert [entry[0] for entry in found[:-1]] == [WRITE_FOUND[0]] * (size > 16)


@pytest.mark.parametrize("size", [1, 2, 15, 16, 20, 56, 59])
def test_a_datagram_that_is_short_is_forgotten_at_once(size):
    found = run_deframer([WRITE[:size], WRITE], packets=True)
    assert found[-1] == WRITE_FOUND
    assert all(entry[2] is False for entry in found[:-1])


@pytest.mark.parametrize("size", [0, 1025])
def test_a_payload_of_an_illegal_size_does_not_follow(size):
    illegal = frame(Op.WRITE_MEMORY, 7, 0, size)
    assert run_deframer([illegal, READ]) == [[(Op.WRITE_MEMORY, 7, 0, size)], READ_FOUND]

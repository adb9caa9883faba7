# amaranth: UnusedElaboratable=no
"""Accumulated sums equal Python's, at the least distance the unit publishes; results come with its latency."""

import random

import pytest
from amaranth.hdl import Signal

from hw.matmul.accumulator import Accumulator
from tests.support.streams import simulate


def wrap(x):
    return (x + 2**31) % 2**32 - 2**31


@pytest.mark.parametrize("array_latency", [2, 3, 9])
@pytest.mark.parametrize("gaps", [0.0, 0.4])
def test_equals_sum(array_latency, gaps):
    cols, sum_bits, tokens = 3, 20, 8
    dut = Accumulator(cols=cols, sum_bits=sum_bits, tokens=tokens, array_latency=array_latency)
    rng = random.Random(array_latency)
    beats, expected = [], []  # beats: (beat, sums) or None
    for rows in (4, 1, 8, 5, 2):  # tiles
        planes = rng.randint(1, 4)
        totals = [[0] * cols for _ in range(rows)]
        for plane in range(planes):
            for token in range(rows):
                high, last = rng.randint(0, 1), plane == planes - 1
                extreme = rng.random() < 0.2
                limit = 1 << (sum_bits - 1)
                sums = [-limit if extreme else rng.randrange(-limit, limit) for _ in range(cols)]
                totals[token] = [wrap(t + (s << 8 * high)) for t, s in zip(totals[token], sums, strict=True)]
                beats.append(({"token": token, "first": plane == 0, "high": high, "last": last}, sums))
                if last:
                    expected.append(totals[token])
            beats += [None] * (dut.distance - rows)  # the same token again, as early as allowed
    results, stamps, delivered = [], [], []

    async def bench(ctx):
        pipe, cycle, rest = [None] * array_latency, 0, list(beats)
        while cycle < 3 * len(beats) + 40:
            entry = rest.pop(0) if rest and rng.random() >= gaps else None
            nothing = {name: rng.randrange(size) for name, size in (("token", tokens), ("first", 2), ("last", 2))}
            ctx.set(dut.beat, entry[0] if entry else nothing)
            pipe.append(entry)
            leaving = pipe.pop(0)
            ctx.set(dut.sums, {"valid": leaving is not None, "data": leaving[1] if leaving else [-1] * cols})
            if leaving and leaving[0]["last"]:
                delivered.append(cycle)
            _, _, valid, data = await ctx.tick().sample(dut.o.valid, dut.o.data)
            if valid:
                results.append([~data[c] for c in range(cols)])
                stamps.append(cycle)
            cycle += 1

    simulate(dut, bench)
    assert results == expected
    assert stamps == [cycle + dut.latency for cycle in delivered]


def test_array_must_take_time():
    with pytest.raises(ValueError, match="array_latency must be at least 2, not 1"):
        Accumulator(cols=2, sum_bits=20, tokens=8, array_latency=1)


def test_reset_in_mid_operation():
    """The sums that arrive with the reset are neither stored nor delivered."""
    dut, reset = Accumulator(cols=1, sum_bits=20, tokens=8, array_latency=2), Signal()

    async def bench(ctx):
        async def step(beat, sums, *, valid=1, resets=0):
            ctx.set(dut.beat, beat)
            ctx.set(dut.sums, {"valid": valid, "data": [sums]})
            ctx.set(reset, resets)
            await ctx.tick()

        idle = {"token": 0, "first": 1, "last": 1}
        for last in (0, 1):
            begun, more = {"token": 3, "first": 1, "last": 0}, {"token": 3, "first": 0, "last": 1}
            for beat in (begun, idle):
                await step(beat, 5, valid=0)
            await step(idle, 5)  # the array's answer to it, two cycles later
            for beat in ({"token": 3, "first": 1, "last": last}, idle):
                await step(beat, 0, valid=0)
            await step(idle, 100, resets=1)
            for beat in (idle, more, idle):
                await step(beat, 0, valid=0)
                assert not ctx.get(dut.o.valid)
            await step(idle, 7)
            assert ctx.get(dut.o.valid)
            assert ~ctx.get(dut.o.data[0]) == 5 + 7

    simulate(dut, bench, reset=reset)

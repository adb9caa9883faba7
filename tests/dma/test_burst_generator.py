"""BurstGenerator: bursts cover a transfer exactly, are as long as allowed, and stop at the region's end."""

import itertools
import random

import pytest
from amaranth.hdl import Signal

from hw.dma.burst_generator import BurstGenerator
from tests.support.streams import PRESSURES, run_streams, simulate

PAGE = 4096


def cut(word, words, word_bytes, beats):
    """(byte address, beats) of the fewest bursts for consecutive words from absolute word address `word`."""
    while words:
        to_page = (PAGE - word * word_bytes % PAGE) // word_bytes
        size = min(words, beats, to_page)
        yield word * word_bytes, size
        word, words = word + size, words - size


def bursts(transfer, base, word_bytes, beats):
    """Bursts of a whole transfer, with natural counts."""
    for k2, k1 in itertools.product(range(transfer["count2"]), range(transfer["count1"])):
        word = base // word_bytes + transfer["offset"] + k2 * transfer["offset2"] + k1 * transfer["offset1"]
        yield from cut(word, transfer["run"], word_bytes, beats)


def stored(transfer):
    return {name: value - (name in ("run", "count1", "count2")) for name, value in transfer.items()}


def regions(base, size):
    return [{"base": 0xFFFFFFFF, "size": 0}, {"base": base, "size": size}, *[{"base": 0, "size": 0}] * 2]


@pytest.mark.parametrize("pressure", PRESSURES)
@pytest.mark.parametrize(("word_bits", "beats"), [(64, 4), (128, 16), (256, 128)])
def test_bursts(word_bits, beats, pressure):
    rng, base = random.Random(word_bits), 0x7FFFEC60
    transfers = [
        {
            "region": 1, "offset": rng.randrange(600), "run": rng.choice((1, 2, 7, 33, 400)),
            "count1": rng.randint(1, 3), "offset1": rng.choice((1, 33, rng.randrange(1 << 20))),
            "count2": rng.randint(1, 3), "offset2": rng.choice((2, rng.randrange(1 << 20))),
        }
        for _ in range(12)
    ]  # fmt: skip
    expected = []
    for transfer in transfers:
        part = [{"address": a, "last": n - 1, "final": 0} for a, n in bursts(transfer, base, word_bits // 8, beats)]
        part[-1]["final"] = 1
        expected += part
    dut = BurstGenerator(word_bits=word_bits, burst_beats=beats, run_bits=12)
    results, _ = run_streams(
        dut,
        {"i": [stored(transfer) for transfer in transfers]},
        {"o": len(expected)},
        pressure=pressure,
        constants={"allow": 1, "regions": regions(base | 5, 0x80000000)},
    )
    assert results["o"] == expected


def test_latency():
    """A burst is offered the cycle after its check, which is when the word channel may count on it."""
    dut = BurstGenerator(word_bits=64, burst_beats=4, run_bits=12)
    transfer = {"region": 1, "offset": 0, "run": 8, "count1": 2, "offset1": 8, "count2": 1, "offset2": 0}
    _, cycles = run_streams(
        dut, {"i": [stored(transfer)]}, {"o": 4}, constants={"allow": 1, "regions": regions(0, 4096)}
    )
    first, step = BurstGenerator.latency + 1, BurstGenerator.interval
    assert cycles["o"] == [first, first + step, first + 2 * step + BurstGenerator.turn, first + 3 * step + dut.turn]


@pytest.mark.parametrize("levels", [0, 2])
@pytest.mark.parametrize("base", [0x1000, 0xFFFFF000])
@pytest.mark.parametrize("room", range(60, 68))
def test_region_end(levels, base, room):
    """64 words at offset 3 of a region of `room` + 3 words: all, or the bursts before the one that would leave it.

    A single run is all or nothing.
    """
    word_bytes, beats = 8, 16
    dut = BurstGenerator(word_bits=64, burst_beats=beats, run_bits=12, levels=levels)
    transfer = {"region": 1, "offset": 3, "run": 64}
    if levels:
        transfer |= {"count1": 1, "offset1": 0, "count2": 1, "offset2": 0}
    addresses, faults = [], 0

    async def testbench(ctx):
        nonlocal faults
        ctx.set(dut.regions, regions(base, (3 + room) * word_bytes + 7))
        ctx.set(dut.i.payload, stored(transfer))
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.allow, 1)
        ctx.set(dut.o.ready, 1)
        await ctx.tick()
        ctx.set(dut.i.valid, 0)
        for _ in range(60):
            faults += ctx.get(dut.outside)
            if ctx.get(dut.o.valid):
                addresses.append((ctx.get(dut.o.p.address), ctx.get(dut.o.p.last) + 1))
            await ctx.tick()

    simulate(dut, testbench)
    wanted = list(cut(base // word_bytes + 3, 64, word_bytes, beats))
    fits = [(a, n) for a, n in wanted if a + n * word_bytes <= base + (3 + room) * word_bytes]
    assert addresses == (fits if levels or fits == wanted else [])
    assert faults == (fits != wanted)


@pytest.mark.parametrize("offset", [(1 << 28) - 1, 1 << 27, 513])
def test_never_wraps_at_4_gib(offset):
    """A region that claims to reach beyond the address space still gives no address below its base."""
    dut = BurstGenerator(word_bits=64, burst_beats=4, run_bits=12, levels=0)
    outcome = []

    async def testbench(ctx):
        ctx.set(dut.regions, regions(0xFFFFF000, 0xFFFFFFF8))
        ctx.set(dut.i.payload, {"region": 1, "offset": offset, "run": 0})
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.allow, 1)
        for _ in range(10):
            outcome.append((ctx.get(dut.o.valid), ctx.get(dut.outside)))
            await ctx.tick()

    simulate(dut, testbench)
    assert outcome.count((0, 1)) == 1
    assert not any(valid for valid, _ in outcome)


def test_waits_for_permission():
    """Without `allow` no burst is reserved or shown; once reserved it is sent although `allow` ends."""
    dut = BurstGenerator(word_bits=64, burst_beats=4, run_bits=12, levels=0)
    trace = []

    async def testbench(ctx):
        ctx.set(dut.regions, regions(0, 4096))
        ctx.set(dut.i.payload, {"region": 1, "offset": 0, "run": 2})
        ctx.set(dut.i.valid, 1)
        for cycle in range(24):
            ctx.set(dut.allow, cycle == 15)
            trace.append((ctx.get(dut.reserve), ctx.get(dut.o.valid)))
            await ctx.tick()

    simulate(dut, testbench)
    assert trace == [(0, 0)] * 15 + [(1, 0)] + [(0, 1)] * 8


async def collect(ctx, dut, transfer, cycles):
    """(addresses, number of times it was outside) after a transfer is taken, in some cycles in which all may move."""
    addresses, outside = [], 0
    ctx.set(dut.i.payload, stored(transfer))
    ctx.set(dut.i.valid, 1)
    ctx.set(dut.allow, 1)
    ctx.set(dut.o.ready, 1)
    assert ctx.get(dut.i.ready)
    for _ in range(cycles):
        await ctx.tick()
        ctx.set(dut.i.valid, 0)
        outside += ctx.get(dut.outside)
        if ctx.get(dut.o.valid):
            addresses.append(ctx.get(dut.o.p.address))
    return addresses, outside


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("base", [0x1000, 0xFFFFF000])
@pytest.mark.parametrize("start", [63, 64, 65, 100, 511, 512, (1 << 20) - 1])
def test_a_burst_that_begins_beyond_the_region(start, base, level):
    """The transfer's first one, or that of a later run, at word `start` of a region of 64 words."""
    dut = BurstGenerator(word_bits=64, burst_beats=16, run_bits=12)
    transfer = {"region": 1, "offset": 0, "run": 1, "count1": 1, "offset1": 0, "count2": 1, "offset2": 0}
    transfer["offset" if level == 0 else f"offset{level}"] = start
    if level:
        transfer[f"count{level}"] = 2
    outcome = []

    async def testbench(ctx):
        ctx.set(dut.regions, regions(base, 64 * 8))
        outcome.append(await collect(ctx, dut, transfer, 30))

    simulate(dut, testbench)
    wanted = [base, base + 8 * start][level == 0 :]
    assert outcome == [(wanted, 0) if start < 64 else (wanted[:-1], 1)]


@pytest.mark.parametrize("cycles", range(1, 20))
def test_reset_in_any_state(cycles):
    """The next transfer, which may come at once, is as if it were the first one."""
    dut, reset = BurstGenerator(word_bits=64, burst_beats=4, run_bits=12), Signal()
    first = {"region": 1, "offset": 7, "run": 3, "count1": 2, "offset1": 5, "count2": 2, "offset2": 11}
    second = {"region": 1, "offset": 2, "run": 6, "count1": 3, "offset1": 10, "count2": 1, "offset2": 0}
    outcome = []

    async def testbench(ctx):
        ctx.set(dut.regions, regions(0x2000, 4096))
        await collect(ctx, dut, first, cycles)
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        outcome.append(await collect(ctx, dut, second, 60))

    simulate(dut, testbench, reset=reset)
    assert outcome == [([address for address, _ in bursts(second, 0x2000, 8, 4)], 0)]


@pytest.mark.parametrize("level", [1, 2])
def test_counts_of_all_bits(level):
    """More than half of what a count can be: the first half is not forgotten."""
    dut = BurstGenerator(word_bits=64, burst_beats=4, run_bits=12)
    count = 2050
    transfer = {"region": 1, "offset": 0, "run": 1, "count1": 1, "offset1": 0, "count2": 1, "offset2": 0}
    transfer |= {f"count{level}": count, f"offset{level}": 3}
    outcome = []

    async def testbench(ctx):
        ctx.set(dut.regions, regions(0x1000, 8 * 3 * count))
        outcome.append(await collect(ctx, dut, transfer, (count + 5) * (dut.interval + dut.turn)))

    simulate(dut, testbench)
    assert outcome == [([0x1000 + 24 * n for n in range(count)], 0)]

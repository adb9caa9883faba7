"""Counters lose nothing, and every reader sees all earlier cycles."""

import random

import pytest
from amaranth.hdl import Signal

from hw.units.counter_bank import CounterBank
from tests.support.streams import simulate

SHAPES = [((1, 1, 3) + (1,) * 15, 2), ((2, 1), 0), ((1,), 1)]


@pytest.mark.parametrize(("increments", "long"), SHAPES)
@pytest.mark.parametrize("rate", [0.3, 1.0])
def test_counts_everything(increments, long, rate):
    """Cleared twice, the second time as soon as can be, and reset in mid-operation, which clears as well."""
    dut, reset = CounterBank(increments=increments, long=long), Signal()
    rng = random.Random(len(increments))

    async def bench(ctx):
        total = [0] * len(increments)  # before this cycle
        for cycle in range(900):
            clear, resets = cycle in (150, 177, 178), cycle in (600, 603)
            ctx.set(reset, resets)
            events = [(1 << bits) - 1 if rate == 1 else rng.randrange(1 << bits) for bits in increments]
            ctx.set(dut.clear, clear)
            ctx.set(dut.events, {f"e{n}": value for n, value in enumerate(events)})
            slot, value = int(ctx.get(dut.slot)), int(ctx.get(dut.value))
            if slot < len(dut.cells):
                event = dut.cells[slot]
                expected = total[event] if event is not None else 0
                assert value == expected, (cycle, slot)
            await ctx.tick()
            total = [0 if clear or resets else old + new for old, new in zip(total, events, strict=True)]

    simulate(dut, bench, reset=reset)


def test_a_long_counter_carries_into_its_upper_cell():
    dut = CounterBank(increments=(20, 20), long=2)
    totals = [0, 0]
    seen = {}

    async def bench(ctx):
        for cycle in range(20000):
            events = [0xFFFFF, 0x70001] if cycle < 19900 else [0, 0]
            ctx.set(dut.events, {"e0": events[0], "e1": events[1]})
            seen[int(ctx.get(dut.slot))] = int(ctx.get(dut.value))
            await ctx.tick()
            for n in range(2):
                totals[n] += events[n]

    simulate(dut, bench)
    assert [seen[2 * n] + (seen[2 * n + 1] << 32) for n in range(2)] == totals
    assert seen[1] > 0

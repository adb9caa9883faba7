"""The base of every run, at full width and exhaustively at three bits."""

import itertools
import random

import pytest
from amaranth.hdl import Signal

from hw.sequencer.run_base import RunBase
from tests.support.streams import simulate


def _values(bits, cases, runs):
    dut = RunBase(bits=bits)
    got = []

    async def bench(ctx):
        for base, step in cases:
            ctx.set(dut.base, base)
            ctx.set(dut.step, step)
            for run in range(runs):
                ctx.set(dut.first, run == 0)
                for position in range(bits):
                    ctx.set(dut.shift, 1)
                    ctx.set(dut.position, position)
                    await ctx.tick()
                ctx.set(dut.shift, 0)
                await ctx.tick()
                got.append(int(ctx.get(dut.value)))

    simulate(dut, bench)
    return got


def test_every_base_and_step():
    cases = list(itertools.product(range(8), range(8)))
    assert _values(3, cases, 4) == [(base + run * step) % 8 for base, step in cases for run in range(4)]


def test_addresses():
    rng = random.Random(0)
    cases = [(rng.randrange(1 << 32), rng.randrange(1 << 32)) for _ in range(20)]
    assert _values(32, cases, 3) == [(base + run * step) % (1 << 32) for base, step in cases for run in range(3)]


@pytest.mark.parametrize("cycles", range(9))
def test_a_reset_leaves_nothing_of_a_sum(cycles):
    """After one in the middle of an addition, or at the very beginning, it moves on from zero by exactly a step."""
    dut, reset, got = RunBase(bits=8), Signal(), []

    async def shift(ctx, count, **values):
        for name, value in values.items():
            ctx.set(getattr(dut, name), value)
        ctx.set(dut.shift, 1)
        for position in range(count):
            ctx.set(dut.position, position)
            await ctx.tick()

    async def bench(ctx):
        if cycles:
            await shift(ctx, 8, base=0xFF, first=1)
            ctx.set(dut.shift, 0)
            await ctx.tick()
            await shift(ctx, cycles - 1, step=0xFF, first=0)
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
        for _ in range(2):
            await shift(ctx, 8, step=0x35, first=0)
            ctx.set(dut.shift, 0)
            await ctx.tick()
            got.append(ctx.get(dut.value))

    simulate(dut, bench, reset=reset)
    assert got == [0x35, 0x6A]

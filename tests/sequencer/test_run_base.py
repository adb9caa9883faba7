"""The base of every run, at full width and exhaustively at three bits."""

import itertools
import random

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

import numpy as np
import pytest

from hw.spec.config import Config
from hw.spec.memory import norm_params
from hw.vector.norm_table import NormTable
from tests.support.streams import simulate


@pytest.mark.parametrize("wide", [0, 1])
@pytest.mark.parametrize(("rows", "lanes"), [(8, 2), (16, 4), (32, 1)])
def test_serves_group_after_group(rows, lanes, wide):
    serve(rows, lanes, wide, length=3 * (rows // 2 if wide else rows) + 3)


def test_the_longest_row():
    """Of as many channels as its 12 bits can say, almost: the last group is not whole."""
    serve(32, 1, 0, length=4096 - 5)


def serve(rows, lanes, wide, *, length):
    rng = np.random.default_rng(rows + wide)
    group = rows // 2 if wide else rows
    bias = rng.integers(-(1 << 33), 1 << 33, length)
    mult = rng.integers(-(1 << 32), 1 << 32, length)
    shift = rng.integers(0, 64, length)
    entries = norm_params(bias, mult, shift, Config(rows=rows))
    words = [int.from_bytes(word.tobytes(), "little") for word in entries.reshape(-1, rows)]
    dut = NormTable(rows=rows, lanes=lanes)
    taken = []

    async def feed(ctx):
        ctx.set(dut.wide, wide)
        ctx.set(dut.length_m1, length - 1)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        for number, word in enumerate(words):
            ctx.set(dut.i.payload, word)
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
            taken.append(number)
        ctx.set(dut.i.valid, 0)

    async def use(ctx):
        for number in range(-(-length // group)):
            parity = number % 2
            while not ctx.get(dut.filled) >> parity & 1:
                await ctx.tick()
            await ctx.tick().repeat(40)  # the other buffer is loaded meanwhile, this one is not overwritten
            per_entry = len(words) // length
            assert len(taken) == min(len(words), (number + 2) * group * per_entry)
            channels = range(number * group, min((number + 1) * group, length))
            for channel in channels:
                index = (channel - channels[0]) // lanes + parity * (rows // lanes)
                lane = (channel - channels[0]) % lanes
                ctx.set(dut.bias_index, index)
                ctx.set(dut.factor_index, index)
                await ctx.delay(1e-9)
                factors = ctx.get(dut.factors)[lane]
                assert ctx.get(dut.bias)[lane] == bias[channel]
                assert (factors.mult, factors.shift) == (mult[channel], shift[channel])
            ctx.set(dut.used, 1 << parity)
            await ctx.tick()
            ctx.set(dut.used, 0)
            assert not ctx.get(dut.filled) >> parity & 1, "used biases wait for the next ones"
            ctx.set(dut.release, 1 << parity)
            await ctx.tick()
            ctx.set(dut.release, 0)

    simulate(dut, feed, use)
    assert len(taken) == len(words)

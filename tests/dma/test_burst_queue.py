# amaranth: UnusedElaboratable=no
"""BurstQueue: never more than fits, never less than was promised, in order; a reset in between forgets all."""

import random
from collections import deque

import pytest
from amaranth.hdl import ResetInserter, Signal

from hw.dma.burst_queue import BurstQueue
from tests.support.streams import simulate


@pytest.mark.parametrize("block", [False, True])
@pytest.mark.parametrize("depth", [8, 12])
def test_room_is_what_is_promised(depth, block):
    rng, reset, dut = random.Random(depth), Signal(), BurstQueue(shape=8, depth=depth, block=block)

    async def bench(ctx):
        for _ in range(4):
            asked, kept, sent, got = 0, deque(), 0, 0
            for _ in range(400):
                last = rng.randrange(4)
                ctx.set(dut.last, last)
                room = int(ctx.get(dut.room))
                assert room == (depth - asked - len(kept) > last)
                assert ctx.get(dut.empty) == (not asked and not kept)
                reserve = room and rng.random() < 0.5
                ctx.set(dut.reserve, reserve)
                arrives = asked > 0 and rng.random() < 0.7
                ctx.set(dut.i.valid, arrives)
                ctx.set(dut.i.payload, sent % 256)
                ctx.set(dut.o.ready, rng.random() < 0.5)
                assert not arrives or ctx.get(dut.i.ready)
                _, _, valid, ready, word = await ctx.tick().sample(dut.o.valid, dut.o.ready, dut.o.payload)
                asked += (last + 1) * bool(reserve) - arrives
                if arrives:
                    kept.append(sent % 256)
                    sent += 1
                if valid and ready:
                    assert word == kept.popleft()
                    got += 1
            assert got > 50
            ctx.set(reset, 1)
            for port in (dut.reserve, dut.i.valid, dut.o.ready):
                ctx.set(port, 0)
            await ctx.tick()
            ctx.set(reset, 0)

    simulate(ResetInserter(reset)(dut), bench)


@pytest.mark.parametrize("block", [False, True])
def test_latency(block):
    dut = BurstQueue(shape=8, depth=8, block=block)

    async def bench(ctx):
        ctx.set(dut.reserve, 1)
        await ctx.tick()
        ctx.set(dut.reserve, 0)
        ctx.set(dut.i.valid, 1)
        await ctx.tick()
        ctx.set(dut.i.valid, 0)
        cycles = 1
        while not ctx.get(dut.o.valid):
            await ctx.tick()
            cycles += 1
        assert cycles == BurstQueue.latency

    simulate(dut, bench)

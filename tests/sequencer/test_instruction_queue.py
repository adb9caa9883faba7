"""Queues keep order and contents, promise room truthfully, and have a head ready on time."""

import random
from collections import deque

import pytest

from hw.sequencer.instruction_queue import InstructionQueue
from tests.support.streams import simulate

ENGINES = 5


def _check(ctx, dut, engine, expected):
    index, word = expected
    head = dut.heads[engine].payload
    assert int(ctx.get(head.index)) == index
    assert int(ctx.get(head.word.as_value())) == word


@pytest.mark.parametrize(("word_bits", "depth", "burst"), [(64, 4, 1), (128, 8, 2), (256, 32, 4)])
@pytest.mark.parametrize("take", [0.05, 0.6])
def test_order_and_room(word_bits, depth, burst, take):
    dut = InstructionQueue(engines=ENGINES, depth=depth, word_bits=word_bits, burst=burst)
    rng = random.Random(depth)
    queues = [deque() for _ in range(ENGINES)]
    taken = [0]

    async def bench(ctx):
        index, allowed, beat, current = 0, 0, 0, None
        for cycle in range(2500):
            if beat == 0:
                if not allowed and int(ctx.get(dut.room)):
                    allowed = burst
                if allowed and rng.random() < 0.8 and cycle < 2000:
                    current = (rng.choice((0, 2, 2, 2, 4)), rng.randrange(1 << 256))
                    allowed -= 1
                else:
                    current = None
            valid = current is not None and rng.random() < 0.9
            ctx.set(dut.write, {"valid": 0})
            if valid:
                word = current[1] >> (beat * word_bits) & (1 << word_bits) - 1
                last = beat == dut.beats - 1
                ctx.set(dut.write, {"valid": 1, "engine": current[0], "beat": beat, "last": last, "data": word,
                                    "index": index})  # fmt: skip
            ready = [rng.random() < take for _ in range(ENGINES)]
            for engine, head in enumerate(dut.heads):
                ctx.set(head.ready, ready[engine])
                if ready[engine] and int(ctx.get(head.valid)):
                    _check(ctx, dut, engine, queues[engine].popleft())
                    taken[0] += 1
            if int(ctx.get(dut.empty)):
                assert not any(queues)
            await ctx.tick()
            if valid:
                beat = (beat + 1) % dut.beats
                if beat == 0:
                    queues[current[0]].append((index, current[1]))
                    index += 1
        assert not any(queues) or take < 0.1
        assert int(ctx.get(dut.empty)) == (not any(queues))

    simulate(dut, bench)
    assert taken[0] > 50


@pytest.mark.parametrize("word_bits", [64, 128, 256])
def test_latency_of_a_head(word_bits):
    dut = InstructionQueue(engines=ENGINES, depth=8, word_bits=word_bits, burst=1)
    waits = []

    async def bench(ctx):
        for index in range(2):
            for beat in range(dut.beats):
                write = {
                    "valid": 1,
                    "engine": 3,
                    "beat": beat,
                    "last": beat == dut.beats - 1,
                    "data": 5,
                    "index": index,
                }
                ctx.set(dut.write, write)
                await ctx.tick()
            ctx.set(dut.write, {"valid": 0})
            if index == 0:
                waits.append(await _wait(ctx, dut))
        for _ in range(20):
            await ctx.tick()
        ctx.set(dut.heads[3].ready, 1)
        await ctx.tick()
        ctx.set(dut.heads[3].ready, 0)
        waits.append(await _wait(ctx, dut))

    async def _wait(ctx, dut):
        cycles = 1  # since the last word was written, or the head taken
        while not int(ctx.get(dut.heads[3].valid)):
            await ctx.tick()
            cycles += 1
        assert int(ctx.get(dut.newest.valid)) == 1
        assert int(ctx.get(dut.newest.engine)) == 3
        return cycles

    simulate(dut, bench)
    assert waits == [InstructionQueue.timing(word_bits=word_bits).latency] * 2


def test_clear_forgets_all():
    dut = InstructionQueue(engines=ENGINES, depth=4, word_bits=128, burst=1)

    async def bench(ctx):
        for stop in range(1, 14):
            for cycle in range(stop):
                write = {
                    "valid": 1,
                    "engine": cycle // 2 % ENGINES,
                    "beat": cycle % 2,
                    "last": cycle % 2,
                    "data": cycle,
                }
                ctx.set(dut.write, write)
                await ctx.tick()
            ctx.set(dut.write, {"valid": 0})
            ctx.set(dut.clear, 1)
            await ctx.tick()
            ctx.set(dut.clear, 0)
            for _ in range(12):
                assert int(ctx.get(dut.empty)) == 1
                assert not any(int(ctx.get(head.valid)) for head in dut.heads)
                await ctx.tick()

    simulate(dut, bench)

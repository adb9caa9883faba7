import random

import pytest
from amaranth.hdl import Signal

from hw.vector.read_queues import ReadQueues
from tests.support.streams import reset_and_silent, simulate

WORDS = 64


@pytest.mark.parametrize(("stall", "latency"), [(0.0, 1), (0.0, 3), (0.5, 1), (0.5, 2)])
def test_answers_reach_their_queue_in_order(stall, latency):
    rng = random.Random(latency)
    dut = ReadQueues(word_bits=64, depth=latency + 6, scratch_words=WORDS, scratch_latency=latency)
    memory = [rng.getrandbits(64) for _ in range(WORDS)]
    asked = {name: [rng.randrange(WORDS) for _ in range(120)] for name in ("addresses", "other_addresses")}
    got = {"addresses": [], "other_addresses": []}
    sinks = {"addresses": dut.words, "other_addresses": dut.other_words}
    seen = []

    async def testbench(ctx):
        answers = [None] * latency
        sent = dict.fromkeys(asked, 0)
        held = dict.fromkeys(asked, False)  # an offered address stays
        cycle = 0
        while any(len(got[name]) < len(asked[name]) for name in asked):
            for name in asked:
                source = getattr(dut, name)
                held[name] = sent[name] < len(asked[name]) and (held[name] or rng.random() >= stall)
                ctx.set(source.valid, int(held[name]))
                if held[name]:
                    ctx.set(source.payload, asked[name][sent[name]])
                ctx.set(sinks[name].ready, int(rng.random() >= stall))
            ctx.set(dut.port.request.ready, int(rng.random() >= stall))
            answer = answers.pop(0)
            ctx.set(dut.port.valid, int(answer is not None))
            ctx.set(dut.port.data, rng.getrandbits(64) if answer is None else answer)
            request, granted, address = [
                ctx.get(signal) for signal in (dut.port.request.valid, dut.port.request.ready, dut.port.request.payload)
            ]
            for name in asked:
                source, sink = getattr(dut, name), sinks[name]
                if held[name] and ctx.get(source.ready):
                    sent[name] += 1
                    held[name] = False
                if ctx.get(sink.valid) and ctx.get(sink.ready):
                    got[name].append(ctx.get(sink.payload))
            answers.append(memory[address] if request and granted else None)
            assert not ctx.get(dut.outside)
            await ctx.tick()
            cycle += 1
            assert cycle < 3000
        seen.append(cycle)

    simulate(dut, testbench)
    for name, addresses in asked.items():
        assert got[name] == [memory[address] for address in addresses]
    if not stall:
        assert seen[0] <= 240 + latency + 4, "a word per cycle"


@pytest.mark.parametrize("words", [WORDS, 1 << 16])
def test_nothing_is_read_outside_or_when_halted(words):
    dut = ReadQueues(word_bits=64, depth=8, scratch_words=words, scratch_latency=2)

    async def testbench(ctx):
        ctx.set(dut.port.request.ready, 1)
        ctx.set(dut.addresses.valid, 1)
        ctx.set(dut.addresses.payload, words - 1)
        await ctx.tick()
        assert ctx.get(dut.port.request.valid)
        assert ctx.get(dut.port.request.payload) == words - 1
        ctx.set(dut.halt, 1)
        for _ in range(4):  # from the next cycle on, whatever waits
            await ctx.tick()
            assert not ctx.get(dut.port.request.valid)
            assert not ctx.get(dut.addresses.ready)
        ctx.set(dut.halt, 0)
        ctx.set(dut.addresses.payload, words)
        await ctx.tick()
        for _ in range(4):
            assert ctx.get(dut.outside)
            assert not ctx.get(dut.port.request.valid)
            await ctx.tick()

    simulate(dut, testbench)


@pytest.mark.parametrize("number", [0, 1])
def test_a_reset_forgets_what_was_asked_for(number):
    """An address that waits for its grant, too."""
    dut, reset = ReadQueues(word_bits=64, depth=8, scratch_words=WORDS, scratch_latency=2), Signal()
    source = (dut.addresses, dut.other_addresses)[number]

    async def bench(ctx):
        ctx.set(source.valid, 1)
        await ctx.tick()
        ctx.set(source.valid, 0)
        await ctx.tick()
        assert ctx.get(dut.port.request.valid)
        await reset_and_silent(ctx, reset, 20, dut.port.request.valid, dut.words.valid, dut.other_words.valid)

    simulate(dut, bench, reset=reset)


@pytest.mark.parametrize("stalled", [0, 1])
def test_a_stalled_queue_stops_its_own_addresses_when_it_is_full(stalled):
    dut, taken = ReadQueues(word_bits=64, depth=8, scratch_words=WORDS, scratch_latency=2), [0, 0]
    sinks, sources = (dut.words, dut.other_words), (dut.addresses, dut.other_addresses)

    async def bench(ctx):
        ctx.set(dut.port.request.ready, 1)
        ctx.set(sinks[1 - stalled].ready, 1)
        answers = [0, 0]
        for cycle in range(100):
            offered = (1, cycle % 2)
            for source, valid in zip(sources, offered, strict=True):
                ctx.set(source.valid, valid)
            ctx.set(dut.port.valid, answers.pop(0))
            _, _, asked, *ready = await ctx.tick().sample(dut.port.request.valid, *(source.ready for source in sources))
            answers.append(asked)
            for number in range(2):
                taken[number] += offered[number] and ready[number]

    simulate(dut, bench)
    assert taken[stalled] == dut.depth
    assert taken[1 - stalled] > 45

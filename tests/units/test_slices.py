"""What stands between one engine, stream or port and those of several slices."""

import itertools
import random

import pytest
from amaranth.hdl import Signal

from hw.spec.isa import Fault
from hw.units.broadcast import Broadcast
from hw.units.lockstep import Lockstep
from hw.units.scratch_select import ReadSelect, WriteSelect
from tests.support.streams import simulate


@pytest.mark.parametrize("count", [2, 3])
def test_broadcast_gives_every_word_to_all(count):
    """Each in its own time; the first is at most depth + 1 words ahead of the last, and at full rate it loses none."""
    dut, rng = Broadcast(shape=16, count=count, depth=8), random.Random(count)
    got, sent = [[] for _ in range(count)], list(range(1, 200))

    async def bench(ctx):
        waiting, often = list(sent), [rng.choice((0.2, 1)) for _ in range(count)]
        for cycle in range(4000):
            ctx.set(dut.i.valid, bool(waiting))
            ctx.set(dut.i.payload, waiting[0] if waiting else 0)
            for out, chance in zip(dut.o, often, strict=True):
                ctx.set(out.ready, rng.random() < (1 if cycle > 3000 else chance))
            signals = [signal for out in dut.o for signal in (out.valid, out.ready, out.payload)]
            _, _, taken, *outs = await ctx.tick().sample(dut.i.ready, *signals)
            if taken and waiting:
                waiting.pop(0)
            for number in range(count):
                valid, ready, word = outs[3 * number : 3 * number + 3]
                if valid and ready:
                    got[number].append(word)
            lengths = [len(words) for words in got]
            assert max(lengths) - min(lengths) <= 9

    simulate(dut, bench)
    assert all(words == sent for words in got)


def test_lockstep_waits_for_the_slowest():
    """Three slices that take and finish instructions at random: it takes one a cycle after the last can, issues
    it to all at once in the next one, and retires each once, a cycle after the last one."""
    dut, rng = Lockstep(slices=3), random.Random(1)
    issued, retired, done = [0], [], [[] for _ in range(3)]

    async def bench(ctx):
        pending, able, before, last_taken = [0, 0, 0], [False] * 3, False, False
        for cycle in range(2000):
            ctx.set(dut.issue.valid, rng.random() < 0.5)
            ctx.set(dut.issue.payload.index, cycle)
            for number, part in enumerate(dut.slices):
                finish = pending[number] > 0 and rng.random() < 0.3
                ctx.set(part.retired, finish)
                able[number] = pending[number] < 3 and (able[number] or rng.random() < 0.3)
                ctx.set(part.issue.ready, able[number])
                if finish:
                    done[number].append(cycle)
                    pending[number] -= 1
            sampled = [signal for part in dut.slices for signal in (part.issue.valid, part.issue.ready)]
            payloads = [ctx.get(part.issue.payload) for part in dut.slices]
            _, _, valid, ready, ended, *parts = await ctx.tick().sample(
                dut.issue.valid, dut.issue.ready, dut.retired, *sampled
            )
            assert bool(ready) == before
            assert parts[::2] == [last_taken] * 3
            if last_taken:
                assert [part.index for part in payloads] == [cycle - 1] * 3
                issued[0] += 1
                pending[:], able = [waiting + 1 for waiting in pending], [False] * 3
            taken = bool(valid and ready)
            before, last_taken = all(parts[1::2]) and not taken and not last_taken, taken
            if ended:
                retired.append(cycle)

    simulate(dut, bench)
    last = [max(cycles) for cycles in zip(*done, strict=False)]
    assert retired == [cycle + Lockstep.latency for cycle in last][: len(retired)]
    assert len(last) - len(retired) <= 1
    assert issued[0] > 100


def test_lockstep_keeps_the_first_fault():
    """Until a reset."""
    dut, reset, seen = Lockstep(slices=3), Signal(), []

    async def bench(ctx):
        for number, part in enumerate(dut.slices):
            ctx.set(part.fault_index, 10 + number)
        for faults in ((0, 0, 0), (0, Fault.SCRATCH_ADDRESS, Fault.ILLEGAL_OPERAND), (0, 0, 0), (0, 0, 0)):
            for part, fault in zip(dut.slices, faults, strict=True):
                ctx.set(part.fault, fault)
            _, _, *found = await ctx.tick().sample(dut.fault, dut.fault_index)
            seen.append(tuple(found))
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        seen.append((ctx.get(dut.fault), ctx.get(dut.fault_index)))

    simulate(dut, bench, reset=reset)
    assert seen == [(0, 10), (0, 10), (Fault.SCRATCH_ADDRESS, 11), (0, 11), (0, 10)]


@pytest.mark.parametrize("first", [0, 1, 2])
def test_lockstep_lets_slices_be_apart(first):
    """By as many instructions as it says: none retires before the last slice has retired it, and none is forgotten."""
    dut, retired = Lockstep(slices=3), []

    async def bench(ctx):
        for parts in ([first], [n for n in range(3) if n != first], []):
            for number, part in enumerate(dut.slices):
                ctx.set(part.retired, number in parts)
            for _ in range(dut.ahead):
                _, _, ended = await ctx.tick().sample(dut.retired)
                retired.append(ended)

    simulate(dut, bench)
    latest = dut.ahead + Lockstep.latency
    assert retired == [latest <= cycle < latest + dut.ahead for cycle in range(3 * dut.ahead)]


def test_lockstep_is_quiet_when_all_slices_are():
    dut = Lockstep(slices=3)

    async def bench(ctx):
        for quiet in itertools.product((0, 1), repeat=3):
            for part, value in zip(dut.slices, quiet, strict=True):
                ctx.set(part.quiet, value)
            assert ctx.get(dut.quiet) == all(quiet)
            await ctx.tick()

    simulate(dut, bench)


@pytest.mark.parametrize("every", [0, 1])
def test_writes_reach_the_slices_they_are_for(every):
    """Each granted once to each, in order, however the scratchpads grant."""
    dut, rng = WriteSelect(word_bits=8, slices=3), random.Random(every)
    got, wanted, taken = [[], [], []], [[], [], []], []

    async def bench(ctx):
        ctx.set(dut.every, every)
        for word in range(100):
            number = rng.randrange(3)
            ctx.set(dut.slice, number)
            ctx.set(dut.i.request.valid, 1)
            ctx.set(dut.i.request.p.data, word)
            for target in range(3) if every else [number]:
                wanted[target].append(word)
            while True:
                for port in dut.o:
                    ctx.set(port.request.ready, rng.random() < 0.5)
                sampled = [s for p in dut.o for s in (p.request.valid, p.request.ready, p.request.p.data)]
                _, _, ready, *ports = await ctx.tick().sample(dut.i.request.ready, *sampled)
                for target in range(3):
                    valid, granted, data = ports[3 * target : 3 * target + 3]
                    if valid and granted:
                        got[target].append(data)
                if ready:
                    taken.append(word)
                    break

    simulate(dut, bench)
    assert got == wanted
    assert taken == list(range(100))


def test_reads_are_answered_by_the_slice_that_is_asked():
    dut = ReadSelect(word_bits=8, slices=3)
    answers = []

    async def bench(ctx):
        for cycle in range(12):
            number = cycle // 4
            ctx.set(dut.slice, number)
            ctx.set(dut.i.request.valid, cycle % 4 == 0)
            for other, port in enumerate(dut.o):
                ctx.set(port.request.ready, other == number)
                ctx.set(port.valid, other == number and cycle % 4 == 2)
                ctx.set(port.data, 16 * cycle + other)
            sampled = [port.request.valid for port in dut.o]
            _, _, ready, valid, data, *asked = await ctx.tick().sample(
                dut.i.request.ready, dut.i.valid, dut.i.data, *sampled
            )
            assert ready
            assert asked == [other == number and cycle % 4 == 0 for other in range(3)]
            if valid:
                answers.append((cycle, data))

    simulate(dut, bench)
    assert answers == [(4 * number + 3, 16 * (4 * number + 2) + number) for number in range(3)]


@pytest.mark.parametrize("granting", [0, 1, 2])
def test_a_reset_forgets_who_has_the_word(granting):
    """The next word, even if it comes at once, goes to all slices, also to that which had the one before."""
    dut, reset = WriteSelect(word_bits=8, slices=3), Signal()

    async def bench(ctx):
        ctx.set(dut.every, 1)
        ctx.set(dut.i.request.valid, 1)
        ctx.set(dut.o[granting].request.ready, 1)
        await ctx.tick()
        assert [ctx.get(port.request.valid) for port in dut.o] == [number != granting for number in range(3)]
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        assert [ctx.get(port.request.valid) for port in dut.o] == [1, 1, 1]

    simulate(dut, bench, reset=reset)

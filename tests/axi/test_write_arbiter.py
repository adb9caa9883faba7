# amaranth: UnusedElaboratable=no
"""AxiWriteArbiter: bursts whole, answers to whom they belong, the first master first."""

import random

import pytest
from amaranth.hdl import Signal

from hw.axi.write_arbiter import AxiWriteArbiter
from tests.support.streams import PRESSURES, run_streams, simulate


def bursts(master, rng, count=12):
    """(requests, beats); a beat's data says whose it is, of which burst."""
    lengths = [rng.randrange(1, 5) for _ in range(count)]
    requests = [{"address": master << 20 | k << 4, "last": n - 1} for k, n in enumerate(lengths)]
    beats = [{"data": master << 20 | k << 4 | b, "strobe": 255, "last": int(b == n - 1)}
             for k, n in enumerate(lengths) for b in range(n)]  # fmt: skip
    return requests, beats


@pytest.mark.parametrize("pressure", PRESSURES)
@pytest.mark.parametrize("masters", [2, 3])
def test_bursts_and_answers(masters, pressure):
    """A memory that answers a burst's last beat with an error bit made of it."""
    rng, dut = random.Random(masters), AxiWriteArbiter(word_bits=64, masters=masters)
    sent = [bursts(n, rng) for n in range(masters)]
    asked, answered = [], [[] for _ in range(masters)]

    async def memory(ctx):
        owed, due, offered = [], [], False  # beats left of bursts; answers
        while True:
            ready = {name: rng.random() >= pressure for name in ("aw", "w")}
            ctx.set(dut.bus.aw.ready, ready["aw"])
            ctx.set(dut.bus.w.ready, ready["w"])
            answers = bool(due) and rng.random() >= pressure
            ctx.set(dut.bus.b.valid, answers)
            if answers:
                ctx.set(dut.bus.b.p.error, due[0])
            _, _, aw, request, w, beat, taken = await ctx.tick().sample(
                dut.bus.aw.valid, dut.bus.aw.p, dut.bus.w.valid, dut.bus.w.p, dut.bus.b.ready
            )
            if answers and taken:
                due.pop(0)
            if aw and not offered:  # data may come with the address, not before
                first = int(request.address)
                asked.append(first >> 20)
                assert len(asked) - sum(map(len, answered)) <= 1 or asked[-2] == asked[-1], "others' are not answered"
                owed.append([first | b for b in range(int(request.last) + 1)])
            offered = aw and not ready["aw"]
            if w and ready["w"]:
                assert owed, "data before its address"
                assert int(beat.data) == owed[0].pop(0)
                assert bool(beat.last) == (not owed[0])
                if not owed[0]:
                    owed.pop(0)
                    due.append(int(beat.data) >> 4 & 1)

    def master(number):
        port, (requests, beats) = dut.masters[number], sent[number]

        async def drive(ctx):
            queues = {"aw": list(requests), "w": list(beats)}
            ctx.set(port.b.ready, 1)
            while len(answered[number]) < len(requests):
                for name, queue in queues.items():
                    channel = getattr(port, name)
                    ctx.set(channel.valid, bool(queue))
                    if queue:
                        ctx.set(channel.p, queue[0])
                _, _, aw, w, b, error = await ctx.tick().sample(
                    port.aw.ready, port.w.ready, port.b.valid, port.b.p.error
                )
                for ready, queue in ((aw, queues["aw"]), (w, queues["w"])):
                    if ready and queue:
                        queue.pop(0)
                if b:
                    answered[number].append(int(error))

        return drive

    simulate(dut, *(master(n) for n in range(masters)), background=[memory], limit=3000)
    assert answered == [[k & 1 for k in range(12)]] * masters
    assert pressure or asked == sorted(asked)  # all ask from the start: the first one first
    assert sorted(asked) == sorted(n for n in range(masters) for _ in range(12))


def test_latency():
    requests, _ = bursts(1, random.Random(0), 4)
    _, cycles = run_streams(AxiWriteArbiter(word_bits=64, masters=2), {"master1.aw": requests}, {"bus.aw": 4})
    assert cycles["bus.aw"] == [AxiWriteArbiter.latency + k for k in range(4)]


def test_no_more_bursts_than_can_be_counted():
    """255 may be unanswered, with their data sent or not; then an answer lets in one more."""
    dut = AxiWriteArbiter(word_bits=64, masters=2)
    port, most = dut.masters[0], 255

    async def bench(ctx):
        taken, sent = 0, 0

        async def cycles(count):
            nonlocal taken, sent
            for _ in range(count):
                _, _, address, data = await ctx.tick().sample(dut.bus.aw.valid, dut.bus.w.valid & dut.bus.w.ready)
                taken, sent = taken + address, sent + data

        for signal in (port.aw.valid, port.w.valid, port.w.p.last, dut.bus.aw.ready, port.b.ready):
            ctx.set(signal, 1)
        await cycles(300)
        assert (taken, sent) == (most, 0)
        ctx.set(dut.bus.w.ready, 1)
        await cycles(300)
        assert (taken, sent) == (most, most)
        assert not ctx.get(dut.bus.w.valid)
        ctx.set(dut.bus.b.valid, 1)
        await cycles(1)
        ctx.set(dut.bus.b.valid, 0)
        await cycles(10)
        assert (taken, sent) == (most + 1, most + 1)

    simulate(dut, bench)


def test_reset_in_mid_operation():
    """The address in the register, the data that should follow and the answers awaited are forgotten."""
    dut, reset = AxiWriteArbiter(word_bits=64, masters=2), Signal()
    first, second = dut.masters

    async def bench(ctx):
        for _ in range(2):  # with the address still in the register, then with only data and answer missing
            ctx.set(second.aw.valid, 1)
            ctx.set(second.w.valid, 1)
            await ctx.tick()
            assert ctx.get(dut.bus.aw.valid)
            ctx.set(second.aw.valid, 0)
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
            assert not ctx.get(dut.bus.aw.valid | dut.bus.w.valid | second.w.ready)
            ctx.set(dut.bus.aw.ready, 1)
            ctx.set(first.aw.valid, 1)
            assert ctx.get(first.aw.ready), "another's answer is awaited"
            ctx.set(first.aw.valid, 0)

    simulate(dut, bench, reset=reset)

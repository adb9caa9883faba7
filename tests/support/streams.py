"""Drives the streams of a component in Amaranth's simulator, with random stalls on every side."""

from __future__ import annotations

import random
from operator import attrgetter

from amaranth.hdl import ClockDomain, Module, ResetInserter, Signal
from amaranth.lib import data
from amaranth.sim import Simulator

__all__ = ["PRESSURES", "plain", "reset_and_silent", "run_stream", "run_streams", "simulate"]

PRESSURES = (0.0, 0.5)  # full speed, and stalls at random on every side
_RESETS = ((1, 5), (5, 20), (20, 200))  # a unit under pressure is reset after so many cycles: from, below


def plain(value):
    """A sampled value as int, dict (structures) or list (arrays), so that it compares with Python's own."""
    if isinstance(value, data.Const):
        layout = data.Layout.cast(value.shape())
        if isinstance(layout, data.ArrayLayout):
            return [plain(value[k]) for k in range(layout.length)]
        return {name: plain(value[name]) for name, _ in layout}
    return int(value)


def simulate(dut, *testbenches, until=None, background=(), reset=None, limit=100_000):
    """Runs async ``testbench(ctx)`` functions on `dut` with a clock on `sync`, which need not be used by `dut`.

    Those in `background` are not waited for. While signal `reset` is high, `dut` is reset. Fails after `limit` cycles.
    """
    top = Module()
    top.domains.sync = ClockDomain()
    top.submodules.dut = dut if reset is None else ResetInserter(reset)(dut)
    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    for testbench in testbenches:
        simulator.add_testbench(testbench)
    for testbench in background:
        simulator.add_testbench(testbench, background=True)
    if until is None:
        steps = 0
        while simulator.advance():  # two steps, or more, are a cycle
            steps += 1
            assert steps < 2 * limit, f"no end in {limit} cycles"
    else:
        simulator.run_until(until * 1e-6)


async def reset_and_silent(ctx, reset, cycles, *signals):
    """`reset` for a cycle; in none of the `cycles` behind it is one of `signals` high."""
    ctx.set(reset, 1)
    await ctx.tick()
    ctx.set(reset, 0)
    for _ in range(cycles):
        for signal in signals:
            assert not ctx.get(signal)
        await ctx.tick()


def run_stream(dut, items, *, pressure=0.0, seed=0, i="i", o="o", count=None, constants=None, patience=2000):
    """Sends `items` into stream `i`, returns (results, cycles) of stream `o`.

    One result per item is expected, or `count`. ``cycles[k]`` is the cycle of the k-th result counted from the cycle
    in which the first item was accepted, so a unit of one item per cycle gives [latency, latency + 1, ...] at
    pressure 0. See :func:`run_streams` for everything else.
    """
    items = list(items)
    results, cycles = run_streams(
        dut,
        {i: items},
        {o: len(items) if count is None else count},
        pressure=pressure,
        seed=seed,
        constants=constants,
        patience=patience,
    )
    return results[o], cycles[o]


def run_streams(dut, inputs, outputs, *, pressure=0.0, seed=0, constants=None, patience=2000):
    """Sends lists of items (``inputs[name]``) and collects ``outputs[name]`` items, by member name ("port.stream" too).

    `pressure` is the probability of a stall in each cycle, on each stream. `constants` are inputs set once at
    the start. Fails when nothing moves for `patience` cycles, when a waiting output is withdrawn or changes, or when
    more comes out than was expected. Returns ({name: results}, {name: cycles since the first item was accepted}).

    Under pressure the unit is first reset thrice in mid-operation, for one cycle, and must have forgotten everything.
    """
    rng, reset = random.Random(seed), Signal()
    sources = [_Source(attrgetter(name)(dut), items) for name, items in inputs.items()]
    sinks = [_Sink(name, attrgetter(name)(dut), count) for name, count in outputs.items()]
    sampled = [source.port.ready for source in sources]
    for sink in sinks:
        sampled += [sink.port.valid, sink.port.payload]

    quiet = 8 + getattr(dut, "latency", 0)  # cycles at the end in which nothing more may come

    async def run(ctx, rng, cycles=None):
        cycle = idle = extra = 0
        while extra < quiet and cycle != cycles:
            for source in sources:
                source.offer(ctx, rng.random() < pressure)
            for sink in sinks:
                sink.offer(ctx, rng.random() < pressure)
            _, _, *values = await ctx.tick().sample(*sampled)
            moved = [source.observe(ctx, cycle, values.pop(0)) for source in sources]
            moved += [sink.observe(cycle, values.pop(0), values.pop(0)) for sink in sinks]
            cycle += 1
            idle = 0 if any(moved) else idle + 1
            extra = extra + 1 if all(x.complete for x in sources + sinks) else 0
            if idle >= patience:
                state = [s.accepted for s in sources], {s.name: len(s.results) for s in sinks}
                raise AssertionError(f"nothing moved for {patience} cycles; accepted {state[0]}, delivered {state[1]}")

    async def testbench(ctx):
        for name, value in (constants or {}).items():
            ctx.set(attrgetter(name)(dut), value)
        other = random.Random(seed + 1)
        for least, most in _RESETS if pressure else ():
            await run(ctx, other, other.randrange(least, most))
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
            for end in sources + sinks:
                end.forget(ctx)
        await run(ctx, rng)

    simulate(dut, testbench, reset=reset)
    first = min((s.first for s in sources if s.first is not None), default=0)
    return {s.name: s.results for s in sinks}, {s.name: [stamp - first for stamp in s.stamps] for s in sinks}


class _Source:
    """Offers items one after the other; an offered item waits until it is accepted."""

    def __init__(self, port, items):
        self.port, self.items = port, list(items)
        self.accepted, self.offered, self.first = 0, False, None

    def forget(self, ctx):
        ctx.set(self.port.valid, 0)
        self.__init__(self.port, self.items)

    @property
    def complete(self):
        return self.accepted == len(self.items)

    def offer(self, ctx, stall):
        if not (self.offered or stall or self.complete):
            ctx.set(self.port.payload, self.items[self.accepted])
            ctx.set(self.port.valid, 1)
            self.offered = True

    def observe(self, ctx, cycle, ready):
        moved = self.offered and bool(ready)
        if moved:
            ctx.set(self.port.valid, 0)
            self.offered = False
            self.accepted += 1
            self.first = cycle if self.first is None else self.first
        return moved


class _Sink:
    """Collects items and holds the stream to its rule: what waits stays valid and does not change."""

    def __init__(self, name, port, count):
        self.name, self.port, self.count = name, port, count
        self.results, self.stamps, self.ready, self.waiting = [], [], False, None

    def forget(self, _ctx):
        self.__init__(self.name, self.port, self.count)

    @property
    def complete(self):
        return len(self.results) >= self.count

    def offer(self, ctx, stall):
        self.ready = not stall
        ctx.set(self.port.ready, self.ready)

    def observe(self, cycle, valid, payload):
        now = plain(payload) if valid else None
        assert self.waiting in (None, now), f"{self.name} changed while waiting: {self.waiting} -> {now}"
        self.waiting = None if self.ready else now
        if not (valid and self.ready):
            return False
        self.results.append(now)
        self.stamps.append(cycle)
        assert len(self.results) <= self.count, f"{self.name} delivered more than {self.count} items: {now}"
        return True

"""Every output's byte goes where its token belongs, whatever lies around it; what is not transposed passes."""

import random
from itertools import product

import pytest
from amaranth.hdl import Signal

from hw.matmul.gatherer import Gatherer
from hw.spec.isa import TOGETHER
from tests.support.streams import PRESSURES, simulate

ALL = (1 << TOGETHER) - 1


def work(rng, *, transpose, first, rows, outputs, cols, lanes):
    """The items of an instruction as the drain gives them, and those that the writer is to get."""
    items, expected = [], []
    for tile in range(0, outputs, cols):
        count, kept = min(cols, outputs - tile), {}
        for token in range(rows):
            byte, last = (first + token) % TOGETHER, token == rows - 1
            if not byte:
                kept = {}
            for group, k in enumerate(range(0, count, lanes)):
                values = [
                    rng.randrange(-128, 128) if transpose else rng.randrange(-(2**31), 2**31) for _ in range(lanes)
                ]
                ends = k + lanes >= count
                item = {
                    "values": values, "keep": (1 << min(lanes, count - k)) - 1, "token_end": int(ends),
                    "last_token": int(last), "end": int(ends and last and tile + count == outputs),
                }  # fmt: skip
                items.append(item)
                bytes_ = kept.setdefault(group, {})
                bytes_[byte] = values
                if not transpose:
                    expected.append(item | {"bytes": ALL})
                elif last or byte == TOGETHER - 1:
                    there = {place: [value[lane] & 255 for lane in range(lanes)] for place, value in bytes_.items()}
                    expected.append(item | {"values": there, "bytes": sum(1 << place for place in there)})
    return items, expected


def seen(item, lanes, transpose):
    """What of an item counts."""
    got = {name: int(item[name]) for name in ("keep", "token_end", "last_token", "end", "bytes")}
    values = [int(item["values"][lane]) for lane in range(lanes)]
    if transpose:
        places = [k for k in range(TOGETHER) if got["bytes"] >> k & 1]
        values = {k: [value >> 8 * k & 255 for value in values] for k in places}
    return got | {"values": values}


@pytest.mark.parametrize(("lanes", "cols"), [(1, 2), (1, 6), (2, 2), (2, 8), (4, 8)])
@pytest.mark.parametrize("pressure", PRESSURES)
def test_every_place(lanes, cols, pressure):
    """Every first byte, 1 to 9 tokens, partial tiles, between instructions that are not transposed; a reset."""
    rng, reset = random.Random(lanes + cols), Signal()
    shapes = [
        {"transpose": int(rng.random() < 0.8), "first": first, "rows": rows, "outputs": rng.randrange(1, 2 * cols + 2)}
        for first, rows in product(range(TOGETHER), range(1, 10))
    ]
    rng.shuffle(shapes)
    dut = Gatherer(lanes=lanes, groups=cols // lanes)

    async def go(ctx, shapes, cycles=None):
        plan = [work(rng, cols=cols, lanes=lanes, **shape) for shape in shapes]
        items = [item for taken, _ in plan for item in taken]
        expected = [
            (wanted, shape["transpose"]) for shape, (_, gives) in zip(shapes, plan, strict=True) for wanted in gives
        ]
        issued = offered = got = cycle = 0
        while got < len(expected) and cycle != cycles:
            ctx.set(dut.i.valid, issued < len(shapes) and rng.random() >= pressure)
            if issued < len(shapes):
                ctx.set(dut.i.payload, {name: shapes[issued][name] for name in ("transpose", "first")})
            ctx.set(dut.items.valid, offered < len(items) and rng.random() >= pressure)
            if offered < len(items):
                ctx.set(dut.items.payload, items[offered])
            ctx.set(dut.o.ready, rng.random() >= pressure)
            _, _, begun, taken, given, item = await ctx.tick().sample(
                dut.i.valid & dut.i.ready, dut.items.valid & dut.items.ready, dut.o.valid & dut.o.ready, dut.o.payload
            )
            issued += bool(begun)
            offered += bool(taken)
            if given:
                wanted, transpose = expected[got]
                assert seen(item, lanes, transpose) == wanted
                got += 1
            cycle += 1
            assert cycle < 20_000
        if not pressure and cycles is None:  # an item per cycle, and one for each instruction and each last element
            behind = sum(1 + cols // lanes for shape in shapes if shape["transpose"])
            assert cycle <= len(items) + len(shapes) + behind + 1
            assert offered == len(items)

    async def bench(ctx):
        if pressure:
            await go(ctx, shapes, rng.randrange(20, 200))
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
        await go(ctx, shapes)

    simulate(dut, bench, reset=reset)


@pytest.mark.parametrize(("lanes", "cols"), [(1, 8), (2, 8), (4, 8)])
def test_keeps_the_drains_pace(lanes, cols):
    """Before a writer that takes an element per cycle it takes an item of a whole tile in every cycle."""
    rng, tokens = random.Random(lanes), 8 * TOGETHER
    items, _ = work(rng, transpose=1, first=0, rows=tokens, outputs=cols, cols=cols, lanes=lanes)
    dut, log = Gatherer(lanes=lanes, groups=cols // lanes), {"written": 0, "cycles": 0}

    async def bench(ctx):
        ctx.set(dut.i.payload, {"transpose": 1, "first": 0})
        ctx.set(dut.i.valid, 1)
        await ctx.tick()
        ctx.set(dut.i.valid, 0)
        offered = busy = 0  # items; cycles for which the writer still has elements
        while log["written"] < len(items) * lanes:
            ctx.set(dut.items.valid, offered < len(items))
            ctx.set(dut.items.payload, items[min(offered, len(items) - 1)])
            ctx.set(dut.o.ready, busy == 0)
            _, _, waits, given, o = await ctx.tick().sample(
                dut.items.valid & ~dut.items.ready, dut.o.valid & dut.o.ready, dut.o.payload
            )
            assert not waits, f"item {offered} waits"
            offered += offered < len(items)
            busy = o.keep.bit_count() - 1 if given else max(busy - 1, 0)
            log["written"] += TOGETHER * o.keep.bit_count() if given else 0
            log["cycles"] += 1

    simulate(dut, bench)
    assert log["written"] == len(items) * lanes
    assert log["cycles"] <= len(items) + cols + 2

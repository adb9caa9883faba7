"""The drain equals the requantization law, `lanes` outputs per cycle without a gap, in order, and never runs over."""

import random

import numpy as np
import pytest
from amaranth.hdl import Signal

from hw.matmul.drain import Drain
from hw.spec import arith
from hw.spec.isa import Kind
from tests.support.streams import PRESSURES, simulate

COLS, TOKENS, SLOTS, BANKS = 4, 8, 3, 4


def work(seed, count=6, **fixed):
    """Instructions, and their token shares [(sums, params of the tile)] and expected items in order."""
    rng = np.random.default_rng(seed)
    operands, shares, results = [], [], []
    for _ in range(count):
        kind = fixed.get("kind", int(rng.choice([Kind.INT8, Kind.INT16, Kind.INT32, Kind.PLANES])))
        rows, outputs = fixed.get("rows", int(rng.integers(1, TOKENS + 1))), int(rng.integers(1, 3 * COLS + 1))
        track = int(kind == Kind.INT8 and rng.random() < 0.6)
        bank = int(rng.integers(BANKS))
        operands.append({
            "rows": rows - 1, "outputs": outputs - 1, "kind": kind, "track_max": track, "row_max": bank,
        })  # fmt: skip
        for first in range(0, outputs, COLS):
            bias = rng.integers(-(2**31), 2**31, COLS) >> rng.integers(0, 20)
            mult, shift = rng.integers(0, 2**32, COLS), rng.integers(20, 64, COLS)
            for token in range(rows):
                sums = rng.integers(-(2**31), 2**31, COLS) >> rng.integers(0, 20)
                shares.append((sums, (bias, mult, shift), token == rows - 1))
                if kind == Kind.INT32:
                    value = arith.wrap(sums + bias)
                else:
                    value = arith.requantize(sums + bias, mult, shift, Kind(kind).bits)
                kept = value[: outputs - first].tolist()
                last = token == rows - 1
                results.append({
                    "values": kept, "last_token": last, "end": last and first + COLS >= outputs,
                    "place": (bank, token, int(first == 0)) if track else None,
                })  # fmt: skip
    return operands, shares, results


def run(dut, lanes, operands, shares, *, pressure, seed=0, arrivals=None, closed=0):
    """Collected token shares, the values told to the row maximum, and the cycle of every item. `arrivals`: of sums.

    No item is taken for `closed` cycles. Under pressure the drain is first reset in mid-operation.
    """
    rng, reset = random.Random(seed), Signal()
    got, told, stamps = [], [], []

    async def go(ctx, cycles=None):
        issued = fed = slot = written = released = cycle = 0
        flying, current = [], {"values": []}
        loads = []  # parameters of the tiles, column by column
        for _, (bias, mult, shift), end in shares:
            if end:
                loads.append([(int(bias[c]), int(mult[c]), int(shift[c])) for c in range(COLS)])
        tile = 0
        while len(got) < len(shares) and cycle != cycles:
            ctx.set(dut.i.valid, issued < len(operands))
            if issued < len(operands):
                ctx.set(dut.i.payload, operands[issued])
            writing = slot < len(loads) and slot - released < SLOTS
            ctx.set(dut.params.valid, writing)
            if writing:
                bias, mult, shift = loads[slot][written]
                ctx.set(dut.params, {
                    "valid": 1, "slot": slot % SLOTS, "col": written, "bias": bias & 0xFFFFFFFF,
                    "mult": mult, "shift": shift,
                })  # fmt: skip
            # The accumulator delivers some cycles after the room was taken, and only tiles whose parameters are there.
            send = fed < len(shares) and tile < slot and bool(ctx.get(dut.room)) and rng.random() >= pressure
            ctx.set(dut.reserve, send)
            flying.append(shares[fed] if send else None)
            arriving = flying.pop(0) if len(flying) > 5 else None
            ctx.set(dut.sums.valid, arriving is not None)
            if arriving and arrivals is not None:
                arrivals.append(cycle)
            if arriving:
                ctx.set(dut.sums.data, [~int(x) for x in arriving[0]])
            # What takes the items is at the instruction of the first item not yet taken.
            done = sum(share["end"] for share in got)
            ctx.set(dut.same, done >= issued - 1)
            ready = rng.random() >= pressure and cycle >= closed
            ctx.set(dut.o.ready, ready)
            _, _, take, release, valid, item, maximum = await ctx.tick().sample(
                dut.i.ready, dut.release, dut.o.valid, dut.o.payload, dut.maximum
            )
            issued += issued < len(operands) and bool(take)
            if writing:
                written += 1
                if written == COLS:
                    slot, written = slot + 1, 0
            if send:
                tile += shares[fed][2]
                fed += 1
            released += bool(release)
            if valid and ready:
                stamps.append(cycle)
                keep = [lane for lane in range(lanes) if item.keep >> lane & 1]
                current["values"] += [item["values"][lane] for lane in keep]
                if item.token_end:
                    got.append(current | {"last_token": bool(item.last_token), "end": bool(item.end)})
                    current = {"values": []}
                else:
                    assert len(keep) == lanes
                    assert bool(item.last_token) == shares[len(got)][2]
                    assert not item.end
            if maximum.valid:
                values = [maximum["values"][lane] for lane in range(lanes) if maximum.keep >> lane & 1]
                told.append((maximum.bank, maximum.token, maximum.begin, maximum.start, maximum.end, values))
            cycle += 1
            assert cycle < 4000

    async def bench(ctx):
        if pressure:
            await go(ctx, rng.randrange(20, 60))
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
            for kept in (got, told, stamps):
                kept.clear()
        await go(ctx)

    simulate(dut, bench, reset=reset)
    return got, told, stamps


@pytest.mark.parametrize("lanes", [1, 2, 4])
@pytest.mark.parametrize("pressure", PRESSURES)
def test_equals_law(lanes, pressure):
    operands, shares, results = work(lanes)
    dut = Drain(cols=COLS, tokens=TOKENS, lanes=lanes, slots=SLOTS, banks=BANKS)
    got, told, _ = run(dut, lanes, operands, shares, pressure=pressure, seed=lanes)
    assert got == [{name: r[name] for name in ("values", "last_token", "end")} for r in results]
    assert told == maxima(results, lanes)


def maxima(results, lanes):
    """What the row maximum is to be told of `results`."""
    expected = []
    for r in (r for r in results if r["place"]):
        parts = [r["values"][k : k + lanes] for k in range(0, len(r["values"]), lanes)]
        expected += [(*r["place"], k == 0, k == len(parts) - 1, part) for k, part in enumerate(parts)]
    return expected


@pytest.mark.parametrize("lanes", [1, 4])
def test_tells_the_row_maximum_of_every_tile(lanes):
    """Only the first one of an instruction begins a maximum."""
    operands, shares, results = work(12, kind=Kind.INT8)
    _, told, _ = run(
        Drain(cols=COLS, tokens=TOKENS, lanes=lanes, slots=SLOTS, banks=BANKS), lanes, operands, shares, pressure=0
    )
    assert told == maxima(results, lanes)
    assert {begin for _, _, begin, *_ in told} == {0, 1}


@pytest.mark.parametrize(("kind", "latency"), [(Kind.INT16, Drain.latency), (Kind.INT32, Drain.raw_latency)])
def test_latency(kind, latency):
    """From the arrival of the first sums to the first item."""
    operands, shares, _ = work(3, count=1, rows=1, kind=kind)
    dut = Drain(cols=COLS, tokens=TOKENS, lanes=1, slots=SLOTS, banks=BANKS)
    arrivals = []
    _, _, stamps = run(dut, 1, operands, shares, pressure=0, arrivals=arrivals)
    assert stamps[0] - arrivals[0] == latency


@pytest.mark.parametrize("rows", [4, 8])
def test_no_gaps(rows):
    """Once it has begun, items follow each other: sums and parameters come faster than they leave."""
    operands, shares, _ = work(9, count=8, rows=rows, kind=0)
    _, _, stamps = run(
        Drain(cols=COLS, tokens=TOKENS, lanes=1, slots=SLOTS, banks=BANKS), 1, operands, shares, pressure=0
    )
    assert stamps == list(range(stamps[0], stamps[0] + len(stamps)))


@pytest.mark.parametrize("lanes", [1, 4])
def test_keeps_as_much_as_it_says(lanes):
    """With no item taken: `tokens` + 1 sums, behind the tokens that fill the queue of items."""
    operands, shares, _ = work(7, count=9, rows=TOKENS, kind=Kind.INT16)
    operands = [o | {"outputs": 2 * COLS - 1} for o in operands]
    shares = [(*share[:2], k % TOKENS == TOKENS - 1) for k, share in enumerate(shares[: 2 * TOKENS] * len(operands))]
    arrivals, closed = [], 400
    dut = Drain(cols=COLS, tokens=TOKENS, lanes=lanes, slots=SLOTS, banks=BANKS)
    run(dut, lanes, operands, shares, pressure=0, arrivals=arrivals, closed=closed)
    assert sum(cycle < closed for cycle in arrivals) == 32 * lanes // COLS + TOKENS + 1

"""ShiftGelu against arith.shift_gelu."""

import random
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Signal

from hw.spec import arith
from hw.spec.isa import Op
from hw.spec.vector import Given, row_of
from hw.vector.gelu_products import GeluProducts
from hw.vector.shift_gelu import ShiftGelu
from tests.support.rows import beats
from tests.support.streams import PRESSURES, reset_and_silent, run_streams, simulate

GOLDEN = sorted((Path(__file__).parents[1] / "data" / "units").glob("gelu_*.npz"))


def run(rows, factors, *, lanes=1, tops=None, products="dsp", **kwargs):
    """(results of each row, cycles of its beats); `tops` are the rows' maxima, if they shall not be theirs."""
    tops = [max(row) for row in rows] if tops is None else tops
    heads = [{"row_max": int(top), "i0": int(i0)} for top, i0 in zip(tops, factors, strict=True)]
    items = beats(rows, lanes)
    dut = ShiftGelu(lanes=lanes, products=products)
    got, cycles = run_streams(dut, {"rows": heads, "i": items}, {"o": len(items)}, **kwargs)
    assert [(y["mask"], y["last"]) for y in got["o"]] == [(x["mask"], x["last"]) for x in items]
    found = iter(x for y in got["o"] for x in y["x"][: y["mask"].bit_count()])
    return [[next(found) for _ in row] for row in rows], cycles["o"]


def law(rows, factors):
    return [arith.shift_gelu(row, i0).tolist() for row, i0 in zip(rows, factors, strict=True)]


@pytest.mark.parametrize("i0", [1, 2, 5, 16, 29, 255, 256, 1023])
def test_equals_law_for_every_element_of_some_maxima(i0):
    """Rows -128..M: every x there is below M, with maxima around zero, powers of two and the ends."""
    rows = [np.arange(-128, top + 1) for top in (-128, -127, -90, -16, -1, 0, 1, 15, 64, 127)]
    got, _ = run(rows, [i0] * len(rows), lanes=8)
    assert got == law(rows, [i0] * len(rows))


@pytest.mark.parametrize(("lanes", "products"), [(1, "dsp"), (2, "dsp"), (2, "lut"), (4, "dsp")])
@pytest.mark.parametrize("pressure", PRESSURES)
def test_equals_law_at_random(lanes, products, pressure):
    """Every row has its own factor; rows of one element follow each other, and long ones."""
    rng, pick = np.random.default_rng(5), random.Random(5)
    rows = [rng.integers(-128, pick.choice([-100, -20, 0, 30, 128]), size) for size in (1, 1, 2, 90, 1, 64, 3, 120, 1)]
    factors = [pick.randint(1, 1 << pick.randint(1, 10)) & 1023 or 1 for _ in rows]
    got, _ = run(rows, factors, lanes=lanes, products=products, pressure=pressure)
    assert got == law(rows, factors)


def test_any_maximum():
    """Elements above it too: what the table's law says of x * sigma, not yet requantized."""
    rng, law = np.random.default_rng(6), row_of(Op.SHIFT_GELU).law
    rows = [rng.integers(-128, 128, 30) for _ in range(20)]
    tops, factors = rng.integers(-128, 128, 20), rng.choice([1, 5, 16, 255, 1023], 20)
    got, _ = run(rows, factors, lanes=2, tops=tops)
    for row, top, i0, found in zip(rows, tops, factors, got, strict=True):
        operands = {"i0": int(i0), "mult": 1 << 30, "shift": 40}
        expected = law(Given(x=row[None], row_max=np.array([[top]]), operands=operands)).results
        assert np.array_equal(arith.requantize(found, 1 << 30, 40, 8), expected[0])


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_equals_the_official_modules(path):
    with np.load(path) as golden:
        x, i0, out = golden["x"], int(golden["I0"]), golden["out"]
    rows = x.reshape(-1, x.shape[-1])[:5, :256].astype(np.int64)
    expected = out.reshape(-1, x.shape[-1])[:5, :256]
    tops = x.reshape(-1, x.shape[-1])[:5].max(axis=1)
    rows[:, -1] = np.where(rows.max(axis=1) < tops, tops, rows[:, -1])  # a row cut short keeps its maximum
    got, _ = run(rows, [i0] * len(rows), lanes=2)
    kept = rows == x.reshape(-1, x.shape[-1])[:5, :256]
    assert kept.mean() > 0.98
    assert np.array_equal(np.array(got)[kept], expected[kept])


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_time_depends_on_lengths_only(lanes):
    """Rows as long as a table takes follow without a gap, others at its distance, whatever is in them."""
    interval, rng = ShiftGelu.timing().interval, np.random.default_rng(lanes)
    for length, distance in ((512 * lanes, 512), (20 * lanes, interval)):
        seen = set()
        for low, high in ((-128, -100), (-50, 128)):
            rows = [rng.integers(low, high, length) for _ in range(4)]
            seen.add(tuple(run(rows, [20, 1, 300, 7], lanes=lanes)[1]))
        (cycles,) = seen
        beats_ = length // lanes
        assert [cycles[k * beats_] - cycles[0] for k in range(4)] == [k * distance for k in range(4)]
        assert cycles[beats_ - 1] - cycles[0] == beats_ - 1


@pytest.mark.parametrize("taken", [0, 1, 2])
def test_reset_after_a_table(taken):
    """When so many of the two elements of its row have been taken; the next row is as if it were the first one."""
    dut, reset, got = ShiftGelu(lanes=1), Signal(), []
    rows = [([3, -5], 20), ([-7, 9, 1], 5)]

    async def feed(ctx, row, i0, count):
        ctx.set(dut.rows.payload, {"row_max": max(row), "i0": i0})
        ctx.set(dut.rows.valid, 1)
        await ctx.tick().until(dut.rows.ready)
        ctx.set(dut.rows.valid, 0)
        await ctx.tick().until(dut.i.ready)
        for beat in beats([row], 1)[:count]:
            ctx.set(dut.i.payload, beat)
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
            ctx.set(dut.i.valid, 0)
            got.append(ctx.get(dut.o.p.x[0]))

    async def bench(ctx):
        ctx.set(dut.o.ready, 1)
        await feed(ctx, *rows[0], taken)
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        await feed(ctx, *rows[1], 3)

    simulate(dut, bench, reset=reset)
    first, second = law(*zip(*rows, strict=True))
    assert got == [*first[:taken], *second]


@pytest.mark.parametrize("cycles", [1, 2, 100, 300])
def test_reset_leaves_no_product(cycles):
    """Of the row that is counted, or on its way through the reciprocal, none comes any more."""
    dut, reset = GeluProducts(), Signal()

    async def bench(ctx):
        ctx.set(dut.i.payload, {"row_max": 3, "i0": 20, "exp": 9})
        ctx.set(dut.i.valid, 1)
        await ctx.tick().repeat(cycles)
        ctx.set(dut.i.valid, 0)
        await reset_and_silent(ctx, reset, dut.timing().latency + 2, dut.o.valid)

    simulate(dut, bench, reset=reset)

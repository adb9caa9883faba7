"""ShiftGelu against arith.shift_gelu."""

import random
from pathlib import Path

import numpy as np
import pytest

from hw.spec import arith
from hw.spec.isa import Op
from hw.spec.vector import Given, row_of
from hw.vector.shift_gelu import ShiftGelu
from tests.support.streams import PRESSURES, run_streams

GOLDEN = sorted((Path(__file__).parents[1] / "data" / "units").glob("gelu_*.npz"))


def run(dut, rows, factors, **kwargs):
    heads = [{"row_max": int(max(row)), "i0": int(i0)} for row, i0 in zip(rows, factors, strict=True)]
    items = [{"x": [int(x)], "mask": 1, "last": int(k == len(row) - 1)} for row in rows for k, x in enumerate(row)]
    got, cycles = run_streams(dut, {"rows": heads, "i": items}, {"o": len(items)}, **kwargs)
    assert [(y["mask"], y["last"]) for y in got["o"]] == [(1, x["last"]) for x in items]
    found = iter(y["x"][0] for y in got["o"])
    return [[next(found) for _ in row] for row in rows], cycles["o"]


def law(rows, factors):
    return [arith.shift_gelu(row, i0).tolist() for row, i0 in zip(rows, factors, strict=True)]


@pytest.mark.parametrize("i0", [1, 2, 5, 16, 29, 255, 256, 1023])
def test_equals_law_for_every_element_of_some_maxima(i0):
    """Rows -128..M: every x there is below M, with maxima around zero, powers of two and the ends."""
    rows = [np.arange(-128, top + 1) for top in (-128, -127, -90, -16, -1, 0, 1, 15, 64, 127)]
    got, _ = run(ShiftGelu(), rows, [i0] * len(rows))
    assert got == law(rows, [i0] * len(rows))


@pytest.mark.parametrize("pressure", PRESSURES)
def test_equals_law_at_random(pressure):
    """Every row has its own factor; rows of one element follow each other, and long ones."""
    rng, pick = np.random.default_rng(5), random.Random(5)
    rows = [rng.integers(-128, pick.choice([-100, -20, 0, 30, 128]), size) for size in (1, 1, 2, 90, 1, 64, 3, 120, 1)]
    factors = [pick.randint(1, 1 << pick.randint(1, 10)) & 1023 or 1 for _ in rows]
    got, _ = run(ShiftGelu(), rows, factors, pressure=pressure)
    assert got == law(rows, factors)


def test_any_maximum():
    """Elements above it too: what the table's law says of x * sigma, not yet requantized."""
    rng, law = np.random.default_rng(6), row_of(Op.SHIFT_GELU).law
    rows = [rng.integers(-128, 128, 30) for _ in range(20)]
    heads = [{"row_max": int(rng.integers(-128, 128)), "i0": int(rng.choice([1, 5, 16, 255, 1023]))} for _ in rows]
    items = [{"x": [int(x)], "mask": 1, "last": int(k == 29)} for row in rows for k, x in enumerate(row)]
    got, _ = run_streams(ShiftGelu(), {"rows": heads, "i": items}, {"o": len(items)})
    y = np.array([item["x"][0] for item in got["o"]]).reshape(20, 30)
    for row, head, found in zip(rows, heads, y, strict=True):
        operands = {"i0": head["i0"], "mult": 1 << 30, "shift": 40}
        expected = law(Given(x=row[None], row_max=np.array([[head["row_max"]]]), operands=operands)).results
        assert np.array_equal(arith.requantize(found, 1 << 30, 40, 8), expected[0])


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_equals_the_official_modules(path):
    with np.load(path) as golden:
        x, i0, out = golden["x"], int(golden["I0"]), golden["out"]
    rows = x.reshape(-1, x.shape[-1])[:5, :256].astype(np.int64)
    expected = out.reshape(-1, x.shape[-1])[:5, :256]
    tops = x.reshape(-1, x.shape[-1])[:5].max(axis=1)
    rows[:, -1] = np.where(rows.max(axis=1) < tops, tops, rows[:, -1])  # a row cut short keeps its maximum
    got, _ = run(ShiftGelu(), rows, [i0] * len(rows))
    kept = rows == x.reshape(-1, x.shape[-1])[:5, :256]
    assert kept.mean() > 0.98
    assert np.array_equal(np.array(got)[kept], expected[kept])


def test_latency():
    """Once the first row's exponential is there, rows as long as its computation follow without a gap."""
    dut = ShiftGelu()
    rows = [np.arange(80) - 30] * 3
    _, cycles = run(dut, rows, [20] * 3)
    start = cycles[0] - dut.latency
    assert 0 < start <= dut.row_cycles
    assert cycles == [cycles[0] + k for k in range(240)]

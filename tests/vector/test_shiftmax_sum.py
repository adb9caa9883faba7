# amaranth: UnusedElaboratable=no
"""ShiftmaxSum against arith.shiftmax_sum."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from hw.spec import arith
from hw.spec.isa import Op
from hw.spec.vector import Given, row_of
from hw.vector.shiftmax_sum import ShiftmaxSum
from tests.support.rows import beats
from tests.support.streams import PRESSURES, run_streams

GOLDEN = sorted((Path(__file__).parents[1] / "data" / "units").glob("softmax_*.npz"))


def run(dut, rows, factors, start=0, fraction=0, **kwargs):
    heads = [
        {"row_max": int(max(row)), "i0": int(i0), "fraction": fraction} for row, i0 in zip(rows, factors, strict=True)
    ]
    kwargs["constants"] = {"operands": {"start": start}}
    got, cycles = run_streams(dut, {"rows": heads, "i": beats(rows, dut.lanes)}, {"o": len(rows)}, **kwargs)
    return [item["factor"] for item in got["o"]], cycles["o"]


def law(rows, factors, start=0, fraction=0):
    return [
        int(arith.shiftmax_sum(row, max(row), i0, start=start, fraction=fraction))
        for row, i0 in zip(rows, factors, strict=True)
    ]


@pytest.mark.parametrize("pressure", PRESSURES)
@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_equals_law(lanes, pressure):
    """Rows of one element, of every remainder of the lanes, extreme ones, and totals that saturate."""
    rng = np.random.default_rng(lanes)
    rows = [rng.integers(-128, 128, size) for size in (1, 2, 3, 4, 5, 8, 1, 17, 49, 30)]
    factors = [*rng.integers(1, 64, 5), 1023, 1, 20, 16, 511]
    rows += [np.full(80, 127), np.full(64, -128), np.full(65, -128), np.arange(-128, 128), np.full(130, 5)]
    factors += [1023, 1023, 1023, 23, 1023]
    assert run(ShiftmaxSum(lanes=lanes), rows, factors, pressure=pressure)[0] == law(rows, factors)


def test_rows_that_miss_their_maximum():
    """Elements above it, or all far below: what the table's law says, a factor that saturates included."""
    rng = np.random.default_rng(9)
    rows = [
        rng.integers(low, high, size) for size in (1, 2, 5, 30) for low, high in ((-128, 128), (-128, -60), (90, 128))
    ]
    tops = [int(x) for x in rng.choice([-128, -1, 0, 60, 127], len(rows))]
    factors = [int(x) for x in rng.choice([1, 2, 20, 1023], len(rows))]
    law = row_of(Op.SHIFTMAX_SUM).law
    expected = [
        int(law(Given(x=row[None], row_max=np.array([[top]]), operands={"i0": i0, "start": 0})).factor[0])
        for row, top, i0 in zip(rows, tops, factors, strict=True)
    ]
    assert 65535 in expected
    heads = [{"row_max": top, "i0": i0} for top, i0 in zip(tops, factors, strict=True)]
    dut = ShiftmaxSum(lanes=2)
    got, _ = run_streams(dut, {"rows": heads, "i": beats(rows, 2)}, {"o": len(rows)})
    assert [item["factor"] for item in got["o"]] == expected


@pytest.mark.parametrize("start", [1, 21 * 40, (1 << 22) - 1])
def test_sum_that_begins_elsewhere(start):
    """Every row begins there, also the one after a row that saturates."""
    rows = [np.arange(-20, 29), np.full(130, 5), np.arange(1), np.arange(-30, 0)]
    factors = [21, 1023, 1, 3]
    assert run(ShiftmaxSum(lanes=2), rows, factors, start)[0] == law(rows, factors, start)


@pytest.mark.parametrize("fraction", range(1, 8))
def test_fraction_bits(fraction):
    """Of rows of all differences, of few, and of one; masked elements as well."""
    rng = np.random.default_rng(fraction)
    rows = [np.arange(-128, 128), np.arange(20), np.full(9, 7), rng.integers(-128, 128, 50), rng.integers(-9, 9, 33)]
    factors = [1023, 1, 20, int(rng.integers(1, 1024)), int(rng.integers(1, 64))]
    for start in (0, 21 * 40):
        assert run(ShiftmaxSum(lanes=2), rows, factors, start, fraction)[0] == law(rows, factors, start, fraction)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_equals_the_official_modules(path):
    """Their output is that of the factor, applied by the law."""
    with np.load(path) as golden:
        x, i0, bits, out = golden["x"][:6], int(golden["I0"]), int(golden["out_bits"]), golden["out"][:6]
    rows = x.reshape(-1, x.shape[-1]).astype(np.int64)
    factors, _ = run(ShiftmaxSum(lanes=2), rows, [i0] * len(rows))
    applied = arith.shiftmax_apply(rows, rows.max(axis=1)[:, None], np.array(factors)[:, None], i0, bits)
    assert np.array_equal(applied, out.reshape(rows.shape))


def test_latency():
    """A row of 197 hides the division of the one before; a short one waits for it."""
    dut = ShiftmaxSum(lanes=2)
    _, cycles = run(dut, [np.arange(197) - 99] * 3, [20] * 3)
    assert cycles == [dut.latency + 98 + 99 * k for k in range(3)]
    _, cycles = run(dut, [np.arange(3)] * 4, [20] * 4)
    assert [b - a for a, b in pairwise(cycles)] == [dut.row_cycles] * 3


def test_refuses_no_lanes():
    with pytest.raises(ValueError, match="lanes must be positive, not 0"):
        ShiftmaxSum(lanes=0)

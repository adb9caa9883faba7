# amaranth: UnusedElaboratable=no
"""Shiftmax against arith.shiftmax."""

from pathlib import Path

import numpy as np
import pytest

from hw.spec import arith
from hw.spec.isa import Op
from hw.spec.vector import Given, row_of
from hw.vector.shiftmax import Shiftmax
from tests.support.rows import beats
from tests.support.streams import PRESSURES, run_streams

GOLDEN = sorted((Path(__file__).parents[1] / "data" / "units").glob("softmax_*.npz"))


def run(lanes, rows, factors, bits, fractions=None, products="dsp", **kwargs):
    """Probabilities per row, and the cycles of their beats; checks mask, last and the zeros beyond a row."""
    dut = Shiftmax(lanes=lanes, products=products)
    heads, items = [], beats(rows, lanes)
    for row, i0, width, fraction in zip(rows, factors, bits, fractions or [0] * len(rows), strict=True):
        top = int(max(row))
        factor = int(arith.shiftmax_sum(row, top, i0, fraction=fraction))
        head = {"row_max": top, "i0": int(i0), "fraction": fraction, "factor": factor, "planes": int(width == 16)}
        heads.append(head)
    got, cycles = run_streams(dut, {"rows": heads, "i": items}, {"o": len(items)}, **kwargs)
    found, row = [], []
    for item, beat in zip(items, got["o"], strict=True):
        assert (beat["mask"], beat["last"]) == (item["mask"], item["last"])
        used = item["mask"].bit_count()
        row += beat["x"][:used]
        assert not any(beat["x"][used:])
        if item["last"]:
            found.append(row)
            row = []
    return found, cycles["o"], dut


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("i0", [1, 2, 3, 17, 23, 45, 64, 367, 1023])
def test_equals_law_for_every_difference(i0, bits):
    """Rows that hold every difference; the other end of the range too."""
    rows = [np.arange(-128, 128), np.arange(127, -129, -1)]
    got, _, _ = run(2, rows, [i0] * 2, [bits] * 2)
    assert got == [arith.shiftmax(row, i0, bits).tolist() for row in rows]


@pytest.mark.parametrize("pressure", PRESSURES)
@pytest.mark.parametrize(("lanes", "products"), [(1, "dsp"), (2, "dsp"), (2, "lut"), (4, "dsp")])
def test_equals_law_at_random(lanes, products, pressure):
    rng = np.random.default_rng(lanes)
    rows = [rng.integers(-128, rng.integers(-127, 129), size) for size in (1, 2, 3, 4, 5, 8, 1, 17, 49, 30)]
    factors = [int(x) for x in rng.integers(1, 1 << rng.integers(2, 11, len(rows)))]
    bits = [int(x) for x in rng.choice([8, 16], len(rows))]
    fractions = [int(x) for x in rng.integers(0, 8, len(rows))]
    got, _, _ = run(lanes, rows, factors, bits, fractions, products, pressure=pressure)
    assert got == [
        arith.shiftmax(row, i0, b, fraction=f).tolist()
        for row, i0, b, f in zip(rows, factors, bits, fractions, strict=True)
    ]


@pytest.mark.parametrize("planes", [0, 1])
def test_any_maximum_and_any_factor(planes):
    """Where P does not fit, its low bits: what the table's law says."""
    rng, law = np.random.default_rng(planes), row_of(Op.SHIFTMAX).law
    rows = [rng.integers(-128, 128, 40) for _ in range(12)]
    heads = [
        {"row_max": int(rng.integers(-128, 128)), "i0": int(rng.choice([1, 2, 20, 1023])), "planes": planes,
         "fraction": k % 8, "factor": int(rng.choice([1, 300, 65535]))}
        for k in range(len(rows))
    ]  # fmt: skip
    expected = []
    for row, head in zip(rows, heads, strict=True):
        given = Given(
            x=row[None], row_max=np.array([[head["row_max"]]]), factor=np.array([[head["factor"]]]), operands=head
        )
        expected += (law(given).results[0] & (0xFFFF if planes else 0xFF)).tolist()
    got, _ = run_streams(Shiftmax(lanes=2), {"rows": heads, "i": beats(rows, 2)}, {"o": len(expected) // 2})
    assert [p & (0xFFFF if planes else 0xFF) for beat in got["o"] for p in beat["x"]] == expected


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_equals_the_official_modules(path):
    with np.load(path) as golden:
        x, i0, bits, out = golden["x"][:6], int(golden["I0"]), int(golden["out_bits"]), golden["out"][:6]
    rows = x.reshape(-1, x.shape[-1]).astype(np.int64)
    got, _, _ = run(2, rows, [i0] * len(rows), [bits] * len(rows))
    assert np.array_equal(got, out.reshape(rows.shape))


def test_shifting_the_product_is_shifting_the_exponential():
    """For every mantissa that occurs with a quotient, and every factor's edges."""
    i0 = np.arange(1, 1024)
    factors = np.array([1, 2, 3, 255, 4095, 65534, 65535])[:, None]
    for q in range(16):
        for mantissa in (i0 + 1, 2 * i0 - 1, 2 * i0) if q < 15 else (2 * i0,):
            exact = (((mantissa << (15 - q)) >> 1) * factors) >> 16
            assert np.array_equal(exact, (mantissa * factors) >> (2 + q))
            assert np.array_equal(exact >> 8, (mantissa * factors) >> (10 + q))


def test_latency():
    """Rows follow each other without a gap."""
    rows = [np.arange(5), np.arange(1), np.arange(8)]
    _, cycles, dut = run(2, rows, [20] * 3, [16] * 3)
    assert cycles == list(range(dut.latency, dut.latency + 8))


def test_refuses_no_lanes():
    with pytest.raises(ValueError, match="lanes must be positive, not 0"):
        Shiftmax(lanes=0)

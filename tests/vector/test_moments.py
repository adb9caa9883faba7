# amaranth: UnusedElaboratable=no
"""Moments against arith.moments."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from hw.spec import arith
from hw.vector.moments import Moments
from tests.support.rows import beats
from tests.support.streams import PRESSURES, run_streams

GOLDEN = sorted((Path(__file__).parents[1] / "data" / "units").glob("layernorm_*.npz"))


def run(dut, rows, **kwargs):
    items = {"rows": [{"length": len(row)} for row in rows], "i": beats(rows, dut.lanes)}
    got, cycles = run_streams(dut, items, {"o": len(rows)}, **kwargs)
    return got["o"], cycles["o"]


def law(rows):
    return [dict(zip(("mean", "factor"), map(int, arith.moments(row)), strict=True)) for row in rows]


def edges(rng):
    """Zero variance, ties of the mean (both parities), the largest sums and variances, one element, a spike."""
    rows = [np.zeros(9), np.full(16, -32768), np.full(17, 32767), np.array([-32768])]
    rows += [np.array(pair) for pair in ([0, 1], [1, 2], [-1, 0], [-2, -1])]
    rows += [np.tile([-32768, 32767], 20), np.tile([32767, -32768, 0], 7)]
    rows += [np.eye(33)[4] * 32767, np.eye(32)[0] * -32768, np.arange(-20, 21)]
    rows += [rng.integers(-32768, 32768, size) for size in (1, 2, 3, 5, 64, 96)]
    rows += [rng.normal(rng.normal(0, 9000), 10 ** rng.uniform(0, 4), size) for size in (7, 31, 64, 96, 97)]
    return [np.clip(np.round(row), -32768, 32767).astype(np.int64) for row in rows]


@pytest.mark.parametrize("pressure", PRESSURES)
@pytest.mark.parametrize(("lanes", "products"), [(1, "dsp"), (2, "dsp"), (2, "lut"), (4, "dsp")])
def test_equals_law(lanes, products, pressure):
    rows = edges(np.random.default_rng(lanes))
    assert run(Moments(lanes=lanes, products=products), rows, pressure=pressure)[0] == law(rows)


@pytest.mark.parametrize("bits_per_cycle", [1, 3])
def test_equals_law_in_the_longest_rows(bits_per_cycle):
    """The accumulators' extremes, at a maximum length that makes them small."""
    rng = np.random.default_rng(6)
    rows = [np.full(48, -32768), np.full(48, 32767), np.tile([-32768, 32767], 24), rng.integers(-32768, 32768, 48)]
    assert run(Moments(lanes=2, max_row=48, bits_per_cycle=bits_per_cycle), rows)[0] == law(rows)


def test_equals_law_at_4096():
    rows = [np.tile([-32768, 32767], 2048), np.full(4096, 32767)]
    assert run(Moments(lanes=8), rows)[0] == law(rows)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_equals_the_official_modules(path):
    """Their output is that of mean and factor, applied by the law."""
    with np.load(path) as golden:
        x, bias, out = golden["x"], golden["bias_int"].astype(np.int64), golden["out"]
    rows = x.reshape(-1, x.shape[-1])[:8].astype(np.int64)
    got, _ = run(Moments(lanes=2), rows)
    mean, factor = (np.array([y[key] for y in got])[:, None] for key in ("mean", "factor"))
    assert np.array_equal(arith.normalize(rows, mean, factor, bias), out.reshape(-1, x.shape[-1])[:8])


def test_latency():
    """Rows of 384 follow each other without a gap; short ones at the pace of the root."""
    dut = Moments(lanes=2)
    _, cycles = run(dut, [np.arange(384)] * 3)
    assert cycles == [dut.latency + 191 + 192 * k for k in range(3)]
    _, cycles = run(dut, [np.arange(20)] * 5)
    assert [b - a for a, b in pairwise(cycles)] == [dut.row_cycles] * 4


@pytest.mark.parametrize("max_row", [0, 4097])
def test_refuses_impossible_sizes(max_row):
    with pytest.raises(ValueError, match=rf"max_row must be 1\.\.4096, not {max_row}"):
        Moments(lanes=2, max_row=max_row)
    with pytest.raises(ValueError, match="lanes must be positive, not 0"):
        Moments(lanes=0)

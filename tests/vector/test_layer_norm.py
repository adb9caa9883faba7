# amaranth: UnusedElaboratable=no
"""LayerNorm against arith.normalize."""

import random

import numpy as np
import pytest
from amaranth.hdl import unsigned

from hw.spec import arith
from hw.spec.vector import PRODUCT_PLACES
from hw.vector.layer_norm import LayerNorm
from tests.support.streams import PRESSURES, run_stream

ENDS = {"mask": 1, "last": 1}


def law(item):
    return [
        int(arith.normalize(x, item["mean"], item["factor"], b)) for x, b in zip(item["x"], item["bias"], strict=True)
    ]


def random_item(rng, lanes):
    """Statistics and elements that can be of one row: |x - mean| * factor is at most 2**31 - 1."""
    factor = rng.getrandbits(rng.randint(1, 25)) or 1
    reach = min(((1 << 31) - 1) // factor, 65535)
    mean = rng.randint(-32768, 32767)
    x = [max(-32768, min(32767, mean + rng.choice([-reach, reach, rng.randint(-reach, reach)]))) for _ in range(lanes)]
    bias = [rng.choice([-(1 << 33), (1 << 33) - 1, rng.randint(-(1 << 33), (1 << 33) - 1)]) for _ in range(lanes)]
    return {**ENDS, "x": x, "mean": mean, "factor": factor, "bias": bias}


@pytest.mark.parametrize("pressure", PRESSURES)
@pytest.mark.parametrize(("lanes", "products"), [(1, "dsp"), (2, "dsp"), (2, "lut"), (4, "dsp")])
def test_equals_law(lanes, products, pressure):
    rng = random.Random(lanes)
    items = [random_item(rng, lanes) for _ in range(300)]
    tagged = [{**x, "tag": k} for k, x in enumerate(items)]
    got, _ = run_stream(LayerNorm(lanes=lanes, tag=unsigned(9), products=products), tagged, pressure=pressure)
    assert got == [{**ENDS, "x": law(x), "tag": k} for k, x in enumerate(items)]


@pytest.mark.parametrize("products", PRODUCT_PLACES)
def test_statistics_of_other_rows(products):
    """z is right modulo 2^35 whatever it is."""
    rng = random.Random(7)
    items = []
    for _ in range(200):
        item = random_item(rng, 2)
        items.append(item | {"mean": rng.randint(-32768, 32767), "factor": rng.getrandbits(25)})
    got, _ = run_stream(LayerNorm(lanes=2, products=products), items)
    assert [item["x"] for item in got] == [[int(arith.wrap(z, 35)) for z in law(item)] for item in items]
    assert any(abs(z) >= 1 << 34 for item in items for z in law(item))


def test_the_split_product_is_the_product():
    y = np.arange(-512, 512)[:, None]
    factor = np.arange(512)
    assert np.array_equal((y * factor) >> 1, y * (factor >> 1) + (factor & 1) * (y >> 1))


def test_latency():
    dut = LayerNorm(lanes=2)
    item = {**ENDS, "x": [5, 6], "mean": 1, "factor": 77, "bias": [3, 4]}
    got, cycles = run_stream(dut, [item] * 2)
    assert cycles == [dut.latency, dut.latency + 1]
    assert got == [{**ENDS, "x": law(item)}] * 2


def test_refuses_no_lanes():
    with pytest.raises(ValueError, match="lanes must be positive, not 0"):
        LayerNorm(lanes=0)

# amaranth: UnusedElaboratable=no
"""ShiftExp against arith.shift_exp_parts."""

import random

import pytest
from amaranth.hdl import unsigned

from hw.spec import arith
from hw.vector.shift_exp import ShiftExp
from tests.support.streams import PRESSURES, run_stream

FACTORS = [1, 2, 3, 7, 16, 23, 24, 25, 45, 183, 184, 367, 368, 511, 512, 1022, 1023]


def law(items, terms):
    mantissa, q = arith.shift_exp_parts([x["d"] for x in items], [x["i0"] for x in items], terms)
    return [{"mantissa": int(a), "q": int(b)} for a, b in zip(mantissa, q, strict=True)]


@pytest.mark.parametrize("terms", [15, 23])
def test_equals_law_for_every_difference(terms):
    items = [{"d": d, "i0": i0} for i0 in FACTORS for d in range(-255, 1)]
    got, _ = run_stream(ShiftExp(terms=terms), items)
    assert got == law(items, terms)


@pytest.mark.parametrize("pressure", PRESSURES)
@pytest.mark.parametrize("terms", [1, 15, 23, 31])
def test_equals_law_at_random(terms, pressure):
    """The factor changes with every element, and the tag stays with it."""
    rng = random.Random(terms)
    items = [{"d": -rng.randrange(256), "i0": rng.randint(1, 1 << rng.randint(1, 10)) & 1023 or 1} for _ in range(300)]
    tagged = [{**x, "tag": k} for k, x in enumerate(items)]
    got, _ = run_stream(ShiftExp(terms=terms, tag=unsigned(9)), tagged, pressure=pressure)
    assert got == [{**x, "tag": k} for k, x in enumerate(law(items, terms))]


@pytest.mark.parametrize("terms", [15, 23])
def test_latency(terms):
    dut = ShiftExp(terms=terms)
    _, cycles = run_stream(dut, [{"d": -5, "i0": 20}] * 2)
    assert cycles == [dut.latency, dut.latency + 1]


def test_refuses_terms_beyond_the_quotient():
    with pytest.raises(ValueError, match=r"terms must be 1\.\.31, not 32"):
        ShiftExp(terms=32)

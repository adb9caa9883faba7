# amaranth: UnusedElaboratable=no
"""ShiftExp against arith.shift_exp_parts."""

import random

import numpy as np
import pytest
from amaranth.hdl import unsigned

from hw.spec import arith
from hw.vector.shift_exp import ShiftExp
from tests.support.streams import PRESSURES, run_stream

FACTORS = [1, 2, 3, 7, 16, 23, 24, 25, 45, 183, 184, 367, 368, 511, 512, 1022, 1023]


def law(items, terms):
    shifted = [x["d"] << x["fraction"] for x in items]
    mantissa, q = arith.shift_exp_parts(shifted, [x["i0"] for x in items], terms)
    return [{"mantissa": int(a), "q": int(b)} for a, b in zip(mantissa, q, strict=True)]


@pytest.mark.parametrize("terms", [7, 15])
def test_equals_law_for_every_difference(terms):
    items = [{"d": d, "i0": i0, "fraction": 0} for i0 in FACTORS for d in range(-255, 1)]
    got, _ = run_stream(ShiftExp(terms=terms), items)
    assert got == law(items, terms)


@pytest.mark.parametrize("fraction", range(8))
def test_equals_law_for_every_difference_and_fraction(fraction):
    """I0s of which the largest difference is 1, 2, 4, 8 and 16 times, and the ends."""
    ends = {5873 << fraction >> 4 + shift for shift in range(5)}  # a sixteenth of them, an eighth ...
    factors = sorted({1, 1022, 1023, *(min(max(end, 1), 1023) for end in ends)})
    items = [{"d": d, "i0": i0, "fraction": fraction} for i0 in factors for d in range(-255, 1)]
    got, _ = run_stream(ShiftExp(terms=15), items)
    assert got == law(items, 15)


@pytest.mark.parametrize("fraction", range(8))
def test_its_steps_are_the_law(fraction):
    """Its steps in NumPy, on every difference and I0: the sum, the 14 bits, the remainders of 10 bits."""
    d, i0 = np.arange(-255, 1)[:, None], np.arange(1, 1024)
    t = 23 * -d + (0 if fraction else 8 * (d & 1))
    n = np.minimum((t << fraction) >> 4, (1 << 14) - 1) + 0 * i0
    q, beyond, rest = np.zeros_like(n), np.zeros_like(n), n
    for bit in reversed(range(4)):
        fits = rest >> bit >= i0
        rest = rest - np.where(fits, i0 << bit, 0)
        beyond |= rest >> bit > 1023
        rest &= (1 << bit + 10) - 1
        q = 2 * q + fits
    full = (q == 15) | (beyond == 1)
    mantissa, quotient = arith.shift_exp_parts(d << fraction, i0, 15)
    np.testing.assert_array_equal(np.where(full, 15, q), quotient)
    np.testing.assert_array_equal(2 * i0 - np.where(full, 0, rest), mantissa)


@pytest.mark.parametrize("pressure", PRESSURES)
def test_equals_law_at_random_with_fractions(pressure):
    rng = random.Random(5)
    items = [
        {"d": -rng.randrange(256), "i0": min(1 << rng.randint(0, 10), 1023) - rng.randrange(2) or 1, "fraction": k % 8}
        for k in range(600)
    ]  # fmt: skip
    tagged = [{**x, "tag": k} for k, x in enumerate(items)]
    got, _ = run_stream(ShiftExp(terms=15, tag=unsigned(10)), tagged, pressure=pressure)
    assert got == [{**x, "tag": k} for k, x in enumerate(law(items, 15))]


@pytest.mark.parametrize("pressure", PRESSURES)
@pytest.mark.parametrize("terms", [1, 7, 15])
def test_equals_law_at_random(terms, pressure):
    """The factor changes with every element, and the tag stays with it."""
    rng = random.Random(terms)
    items = [
        {"d": -rng.randrange(256), "i0": rng.randint(1, 1 << rng.randint(1, 10)) & 1023 or 1, "fraction": 0}
        for _ in range(300)
    ]  # fmt: skip
    tagged = [{**x, "tag": k} for k, x in enumerate(items)]
    got, _ = run_stream(ShiftExp(terms=terms, tag=unsigned(9)), tagged, pressure=pressure)
    assert got == [{**x, "tag": k} for k, x in enumerate(law(items, terms))]


@pytest.mark.parametrize("terms", [7, 15])
def test_latency(terms):
    dut = ShiftExp(terms=terms)
    _, cycles = run_stream(dut, [{"d": -5, "i0": 20, "fraction": 0}] * 2)
    assert cycles == [dut.latency, dut.latency + 1]


def test_refuses_terms_beyond_the_quotient():
    with pytest.raises(ValueError, match=r"terms must be 1\.\.15, not 23"):
        ShiftExp(terms=23)

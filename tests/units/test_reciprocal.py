# amaranth: UnusedElaboratable=no
"""Reciprocal against arith.reciprocal."""

import random

import pytest
from amaranth.hdl import unsigned

from hw.spec import arith
from hw.units.reciprocal import Reciprocal
from tests.support.streams import PRESSURES, run_stream


def law(items):
    return [int(arith.reciprocal(x["divisor"])) for x in items]


@pytest.mark.parametrize("pressure", PRESSURES)
@pytest.mark.parametrize("bits_per_stage", [1, 2])
def test_equals_law_everywhere(bits_per_stage, pressure):
    """Small enough to try every divisor."""
    dut = Reciprocal(divisor_bits=8, bits_per_stage=bits_per_stage)
    items = [{"divisor": s} for s in range(1, 256)]
    got, _ = run_stream(dut, items, pressure=pressure)
    assert [x["quotient"] for x in got] == law(items)


@pytest.mark.parametrize("pressure", PRESSURES)
def test_equals_law_at_size(pressure):
    """Powers of two, their neighbours, and every length at random; the tag stays with its divisor."""
    rng = random.Random(2)
    divisors = [(1 << k) + e for k in range(2, 31) for e in (-1, 0, 1)] + [1, 2, (1 << 31) - 1, (1 << 31) - 2]
    divisors += [max(1, rng.getrandbits(rng.randint(1, 31))) for _ in range(200)]
    items = [{"divisor": s, "tag": k} for k, s in enumerate(divisors)]
    got, _ = run_stream(Reciprocal(tag=unsigned(9)), items, pressure=pressure)
    assert got == [{"quotient": q, "tag": k} for k, q in enumerate(law(items))]


@pytest.mark.parametrize("bits_per_stage", [1, 2, 3])
def test_latency(bits_per_stage):
    dut = Reciprocal(bits_per_stage=bits_per_stage)
    _, cycles = run_stream(dut, [{"divisor": 3}, {"divisor": 4}])
    assert cycles == [dut.latency, dut.latency + 1]


def test_refuses_a_wide_divisor():
    with pytest.raises(ValueError, match=r"divisor_bits must be 1\.\.31, not 32"):
        Reciprocal(divisor_bits=32)

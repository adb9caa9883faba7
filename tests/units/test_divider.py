# amaranth: UnusedElaboratable=no
"""Divider against Python's divmod."""

import random

import pytest

from hw.units.divider import Divider
from tests.support.streams import PRESSURES, run_stream


@pytest.mark.parametrize("pressure", PRESSURES)
@pytest.mark.parametrize("bits_per_cycle", [1, 2])
def test_equals_divmod_everywhere(bits_per_cycle, pressure):
    """Small enough to try every division whose quotient fits."""
    dut = Divider(dividend_bits=5, divisor_bits=3, quotient_bits=3, bits_per_cycle=bits_per_cycle)
    items = [{"dividend": a, "divisor": b} for b in range(1, 8) for a in range(min(32, b << 3))]
    got, _ = run_stream(dut, items, pressure=pressure)
    assert got == [
        dict(zip(("quotient", "remainder"), divmod(x["dividend"], x["divisor"]), strict=True)) for x in items
    ]


@pytest.mark.parametrize("bits", [(31, 31, 16, 1), (28, 13, 16, 1), (28, 13, 16, 3), (8, 12, 8, 2)])
def test_equals_divmod_at_size(bits):
    dividend_bits, divisor_bits, quotient_bits, bits_per_cycle = bits
    dut = Divider(
        dividend_bits=dividend_bits,
        divisor_bits=divisor_bits,
        quotient_bits=quotient_bits,
        bits_per_cycle=bits_per_cycle,
    )
    rng = random.Random(1)
    items = []
    while len(items) < 100:
        a, b = rng.getrandbits(rng.randint(1, dividend_bits)), rng.getrandbits(rng.randint(1, divisor_bits))
        if a < b << quotient_bits:
            items.append({"dividend": a, "divisor": b})
    got, _ = run_stream(dut, items)
    assert [(x["quotient"], x["remainder"]) for x in got] == [divmod(x["dividend"], x["divisor"]) for x in items]


@pytest.mark.parametrize("bits_per_cycle", [1, 2, 3])
def test_latency(bits_per_cycle):
    dut = Divider(dividend_bits=31, divisor_bits=31, quotient_bits=16, bits_per_cycle=bits_per_cycle)
    _, cycles = run_stream(dut, [{"dividend": (1 << 31) - 1, "divisor": 1 << 16}] * 2)
    assert cycles == [dut.latency, 2 * dut.latency + 1]


def test_refuses_a_width_of_zero():
    with pytest.raises(ValueError, match="a divider's widths must be positive"):
        Divider(dividend_bits=8, divisor_bits=8, quotient_bits=0)

# amaranth: UnusedElaboratable=no
"""The requantizer equals its law: every operand at small widths, ties and extremes at real ones."""

import itertools
import random

import numpy as np
import pytest

from hw.spec import arith
from hw.units.limb_multiplier import LimbMultiplier
from hw.units.requantizer import Requantizer
from tests.support.cocotb import run_bench
from tests.support.streams import PRESSURES, run_stream

MATMUL = {"value_bits": 34, "mult_bits": 32, "mult_signed": False, "out_bits": 17}
VECTOR = {"value_bits": 35, "mult_bits": 33, "mult_signed": True, "out_bits": 27}


def law(items, bits):
    """The law on a list of operands."""
    value, mult, shift = (np.array([item[key] for item in items], object) for key in ("value", "mult", "shift"))
    exact = arith.rounded(value, mult, shift.astype(np.int64))
    limit = 1 << (bits - 1)
    return [max(-limit, min(limit - 1, int(x))) for x in exact]


def requantize(items, *, pressure=0.0, **parameters):
    results, cycles = run_stream(Requantizer(**parameters), items, pressure=pressure)
    return [result["value"] for result in results], cycles


@pytest.mark.parametrize("mult_signed", [False, True])
def test_equals_law_everywhere(mult_signed):
    """Small enough to try every operand, with limbs small enough to be two."""
    mults = range(-4, 4) if mult_signed else range(8)
    items = [
        {"value": value, "mult": mult, "shift": shift}
        for value, mult, shift in itertools.product(range(-16, 16), mults, range(8))
    ]
    random.Random(1).shuffle(items)
    got, _ = requantize(
        items, value_bits=5, mult_bits=3, mult_signed=mult_signed, shift_bits=3, out_bits=3, limb_bits=2
    )
    assert got == law(items, 3)


def operands(count, seed, *, value_bits, mult_bits, mult_signed, out_bits):
    """Random operands, half of them chosen so that the result is near a tie, near saturation or extreme."""
    rng = random.Random(seed)
    low, high = (-(1 << (mult_bits - 1)), 1 << (mult_bits - 1)) if mult_signed else (0, 1 << mult_bits)
    top = 1 << (value_bits - 1)
    items = []
    for _ in range(count):
        value, mult, shift = rng.randrange(-top, top), rng.randrange(low, high), rng.randrange(64)
        kind = rng.randrange(6)
        if kind == 0:  # an exact tie: odd multiple of half an ulp
            bits = rng.randrange(1, out_bits)
            value, mult = rng.randrange(-(1 << bits), 1 << bits) | 1, 1 << rng.randrange(mult_bits - 1)
            shift = mult.bit_length()
        elif kind == 1:  # the ends of the result's range, and one unit beyond or before a tie
            shift = rng.randrange(1, min(mult_bits - 1, value_bits - out_bits - 1))
            mult = 1
            value = (
                (rng.choice([-1, 1]) << (out_bits - 1 + shift))
                + rng.choice([0, 1, -1])
                + (rng.choice([-1, 0, 1]) << (shift - 1))
            )
        elif kind == 2:
            value, mult = rng.choice([-top, top - 1, -1, 0, 1]), rng.choice([low, high - 1, 0, 1])
        elif kind == 3:  # in range, as factors of a model make it
            shift = min(63, max(0, (abs(value) * abs(mult)).bit_length() - rng.randrange(1, out_bits + 2)))
        items.append({"value": value, "mult": mult, "shift": shift})
    return items


@pytest.mark.parametrize("pressure", PRESSURES)
@pytest.mark.parametrize("parameters", [MATMUL, VECTOR], ids=["matmul", "vector"])
def test_equals_law_at_size(parameters, pressure):
    items = operands(3000, 7, **parameters)
    got, _ = requantize(items, pressure=pressure, **parameters)
    assert got == law(items, parameters["out_bits"])


def test_latency():
    items = [{"value": 3, "mult": 1, "shift": 1}] * 5
    got, cycles = requantize(items, **MATMUL)
    assert got == [2] * 5
    assert cycles == [Requantizer.latency + k for k in range(5)]


@pytest.mark.parametrize("pressure", PRESSURES)
def test_tag_travels_with_the_value(pressure):
    items = [{"value": k, "mult": 1, "shift": 0, "tag": k ^ 5} for k in range(64)]
    results, _ = run_stream(Requantizer(**VECTOR, tag=6), items, pressure=pressure)
    assert results == [{"value": k, "tag": k ^ 5} for k in range(64)]


def test_refuses_operands_that_limbs_cannot_hold():
    with pytest.raises(ValueError, match="value_bits must be from 18 to 35, not 36"):
        LimbMultiplier(value_bits=36, mult_bits=32, mult_signed=False)


def test_verilog_equals_law():
    env = {key.upper(): int(value) for key, value in VECTOR.items()} | {"ITEMS": 4000}
    assert run_bench(Requantizer(**VECTOR), "sim.bench.requantizer", name="requantizer", env=env) == 1

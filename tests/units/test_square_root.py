# amaranth: UnusedElaboratable=no
"""SquareRoot against arith.norm_root and arith.reciprocal."""

import random
from math import isqrt

import numpy as np
import pytest

from hw.spec import arith
from hw.units.square_root import SquareRoot
from tests.support.streams import PRESSURES, run_stream


def law(values):
    roots = [int(arith.norm_root(v)) for v in values]
    return [{"root": k, "factor": int(arith.reciprocal(k))} for k in roots]


@pytest.mark.parametrize("pressure", PRESSURES)
def test_equals_law(pressure):
    """Zero, tiny, squares and their predecessors (which end on either side), the largest, and every length."""
    rng = random.Random(3)
    values = [0, 1, 2, 400, 4095, 4096, (1 << 42) - 1, (1 << 42) - (1 << 21), 4096 << 30 - 1]
    for bits in (5, 8, 12, 17, 20, 21):
        n = rng.getrandbits(bits) | 1 << bits - 1
        values += [n * n, n * n - 1, n * n + 2 * n, n * n + n]
    values += [rng.getrandbits(rng.randint(1, 42)) for _ in range(60 if not pressure else 10)]
    values = [v for v in values if v < 1 << 42]
    got, _ = run_stream(SquareRoot(), values, pressure=pressure)
    assert got == law(values)


@pytest.mark.parametrize(("value_bits", "bits_per_cycle"), [(34, 1), (36, 3), (40, 4)])
def test_equals_law_at_other_widths(value_bits, bits_per_cycle):
    rng = random.Random(4)
    values = [(1 << value_bits) - 1, 0] + [rng.getrandbits(rng.randint(1, value_bits)) for _ in range(20)]
    got, _ = run_stream(SquareRoot(value_bits=value_bits, bits_per_cycle=bits_per_cycle), values)
    assert got == law(values)


@pytest.mark.parametrize("bits_per_cycle", [1, 2, 3])
def test_latency(bits_per_cycle):
    dut = SquareRoot(bits_per_cycle=bits_per_cycle)
    _, cycles = run_stream(dut, [0, (1 << 42) - 1])
    assert cycles == [dut.latency, 2 * dut.latency + 1]


def test_bounds_of_the_proof():
    """Every quotient after the first has value_bits/2 + 1 bits, and every root value_bits - 16, where it matters."""
    edges = [(1 << 42) - 1, *((n + 1) ** 2 - 1 for n in (1, 63, 186, 65535, 65536, (1 << 21) - 2, (1 << 21) - 1))]
    for value in edges:
        root = (65536 + (value >> 16)) >> 1
        for _ in range(9):
            assert root < 1 << 26
            assert value // root < 1 << 22
            root = (root + value // root) >> 1
        assert 64 <= root == arith.norm_root(value)


def test_bounds_of_the_proof_everywhere():
    """From any k >= isqrt(V), a step keeps k there, and V // k <= isqrt(V) + 2: every V and k below some size."""
    value = np.arange(1 << 11)[:, None]
    k = np.arange(1, 600)
    floor = np.array([isqrt(v) for v in range(1 << 11)])[:, None]
    assert np.all((k + value // k) >> 1 >= floor)
    assert np.all((value // k <= floor + 2) | (k < floor) | (value == 0))


def test_refuses_odd_widths():
    with pytest.raises(ValueError, match="value_bits must be even and at least 34, not 41"):
        SquareRoot(value_bits=41)

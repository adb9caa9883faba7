# amaranth: UnusedElaboratable=no
"""Both products of PairMultiplier, together and apart: every operand at small widths, extremes at real ones."""

import itertools
import random

import pytest

from hw.units.pair_multiplier import PairMultiplier
from tests.support.streams import simulate

SMALL = {"value_bits": 5, "mult_bits": 4, "limb_bits": 2}
REAL = {"value_bits": 35, "mult_bits": 33}


def products(items, *, apart, **widths):
    """(product, own) of each item, sent with a step in two of three cycles."""
    dut, rng, got = PairMultiplier(**widths), random.Random(1), []

    async def bench(ctx):
        ctx.set(dut.apart, apart)
        for value, mult, other, other_mult in [*items, *[(0, 0, 0, items[0][3])] * dut.latency]:
            ctx.set(dut.step, 0)
            while rng.random() < 0.3:
                await ctx.tick()
            for port, number in zip((dut.value, dut.mult, dut.other, dut.other_mult),
                                    (value, mult, other, other_mult), strict=True):  # fmt: skip
                ctx.set(port, number)
            ctx.set(dut.step, 1)
            got.append((ctx.get(dut.product), ctx.get(dut.own)))
            await ctx.tick()

    simulate(dut, bench)
    return got[dut.latency :]


def signed(bits):
    return range(-(1 << bits - 1), 1 << bits - 1)


def test_every_product():
    items = [(value, mult, 1, -1) for value, mult in itertools.product(signed(5), signed(4))]
    assert products(items, apart=0, **SMALL) == [(value * mult, 0) for value, mult, *_ in items]


@pytest.mark.parametrize("other_mult", [-8, -3, 0, 7])
def test_every_pair_of_products(other_mult):
    items = [(value, mult, other, other_mult) for value, mult, other in
             itertools.product(signed(3), signed(4), signed(3))]  # fmt: skip
    expected = [(other * other_mult << 2, value * mult) for value, mult, other, _ in items]
    assert products(items, apart=1, **SMALL) == expected


@pytest.mark.parametrize("apart", [0, 1])
def test_real_widths(apart):
    rng = random.Random(apart)

    def operand(bits):
        low, high = -(1 << bits - 1), (1 << bits - 1) - 1
        return rng.choice([low, high, 0, -1, rng.randint(low, high), rng.randint(low, high) >> rng.randrange(bits)])

    other_mult = operand(33)
    items = [(operand(18 if apart else 35), operand(33), operand(18), other_mult) for _ in range(500)]
    expected = [((other * other_mult) << 17, v * f) if apart else (v * f, 0) for v, f, other, _ in items]
    assert products(items, apart=apart, **REAL) == expected


def test_refuses_widths_without_an_upper_limb():
    with pytest.raises(ValueError, match="value_bits must be from 19 to 35, not 18"):
        PairMultiplier(value_bits=18, mult_bits=33)

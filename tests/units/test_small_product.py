# amaranth: UnusedElaboratable=no
"""product_terms in either place: every operand at small widths, extremes and random ones at real widths."""

import itertools
import random

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module, Shape, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.spec.vector import PRODUCT_PLACES
from hw.units.small_product import product_terms
from hw.vector.gelu_products import GeluProducts
from hw.vector.layer_norm import LayerNorm
from hw.vector.moments import Moments
from hw.vector.shift_gelu import ShiftGelu
from hw.vector.shiftmax import Shiftmax
from tests.support.streams import simulate


class Product(wiring.Component):
    """The sum of the terms; with `stalled` they move with ``step`` only."""

    def __init__(self, a, b, *, place, stalled=False):
        self.place, self.stalled = place, stalled
        product = Shape(a.width + b.width, a.signed)
        super().__init__({"step": In(1), "a": In(a), "b": In(b), "o": Out(product)})

    def elaborate(self, _platform):
        m = Module()
        more = {"step": self.step} if self.stalled else {}
        self.terms = product_terms(m, self.a, self.b, "term", place=self.place, **more)
        m.d.comb += self.o.eq(sum(self.terms))
        return m


def products(dut, pairs):
    """Of each pair, a cycle later."""
    got = []

    async def bench(ctx):
        for a, b in pairs:
            ctx.set(dut.a, a)
            ctx.set(dut.b, b)
            await ctx.tick()
            got.append(ctx.get(dut.o))

    simulate(dut, bench)
    return got


def values(shape):
    return range(-(1 << shape.width - 1), 1 << shape.width - 1) if shape.signed else range(1 << shape.width)


@pytest.mark.parametrize("place", PRODUCT_PLACES)
@pytest.mark.parametrize("b_bits", [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize("a", [signed(4), unsigned(4)], ids=str)
def test_every_small_product(a, b_bits, place):
    b = unsigned(b_bits)
    pairs = list(itertools.product(values(a), values(b)))
    assert products(Product(a, b, place=place), pairs) == [x * y for x, y in pairs]


@pytest.mark.parametrize("place", PRODUCT_PLACES)
@pytest.mark.parametrize(("a", "b_bits"), [
    (unsigned(16), 16), (signed(17), 24), (unsigned(11), 16), (unsigned(11), 17), (unsigned(11), 13), (signed(8), 9),
], ids=str)  # fmt: skip
def test_products_of_the_units_widths(a, b_bits, place):
    rng, every, b = random.Random(b_bits), values(a), unsigned(b_bits)
    pairs = list(itertools.product((every[0], every[-1], 0, 1), (0, 1, values(b)[-1], 1 << b_bits - 1)))
    pairs += [(rng.choice(every), rng.getrandbits(b_bits)) for _ in range(500)]
    assert products(Product(a, b, place=place), pairs) == [x * y for x, y in pairs]


@pytest.mark.parametrize("place", PRODUCT_PLACES)
def test_without_a_step_terms_stand_still(place):
    dut = Product(signed(5), unsigned(6), place=place, stalled=True)

    async def bench(ctx):
        for a, b, step, product in ((-3, 50, 1, -150), (15, 63, 0, -150), (15, 63, 1, 945)):
            ctx.set(dut.a, a)
            ctx.set(dut.b, b)
            ctx.set(dut.step, step)
            await ctx.tick()
            assert ctx.get(dut.o) == product

    simulate(dut, bench)


@pytest.mark.parametrize("make", [
    lambda **where: Moments(lanes=2, **where), lambda **where: LayerNorm(lanes=2, **where),
    lambda **where: Shiftmax(lanes=2, **where), lambda **where: ShiftGelu(lanes=2, **where), GeluProducts,
], ids=["moments", "layer_norm", "shiftmax", "shift_gelu", "gelu_products"])  # fmt: skip
def test_units_have_no_multiplier_in_luts(make):
    assert rtlil.convert(make(products="dsp")).count("cell $mul") in (2, 3)
    assert rtlil.convert(make(products="lut")).count("cell $mul") == 0


def test_unknown_place():
    with pytest.raises(ValueError, match=r"a product is in one of dsp, lut, not 'bram'"):
        product_terms(Module(), 3, 4, "term", place="bram")

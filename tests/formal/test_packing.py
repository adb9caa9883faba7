"""The law of two products per DSP: every bound it rests on, then the recovery at real widths for all values."""

import itertools

import numpy as np
import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Module, Signal, signed

from hw.matmul.array_dsp48 import FIELD_BITS, carry_bits, high_field, low_field, multiply_accumulate
from tests.support.formal import prove

ROWS = (8, 16, 32)
WEIGHTS = np.arange(-128, 128)
TOKENS = np.arange(-255, 256)


def fits(values, bits):
    return -(1 << (bits - 1)) <= values.min() and values.max() < 1 << (bits - 1)


def test_operands_fit_the_slice():
    """All pairs of weights fit the 25-bit pre-adder, all products the 43-bit multiplier."""
    pairs = (WEIGHTS[:, None] << FIELD_BITS) + WEIGHTS
    assert fits(pairs, 25)
    assert fits(np.outer([pairs.min(), pairs.max()], TOKENS), 43)


@pytest.mark.parametrize("rows", ROWS)
def test_sums_fit_their_fields(rows):
    """The extreme sums are `rows` times the extreme products, of all products there are."""
    sums = rows * np.outer(WEIGHTS, TOKENS)
    assert fits(sums, FIELD_BITS + carry_bits(rows))
    assert fits(sums, 16 + rows.bit_length())
    assert fits((sums << FIELD_BITS) + sums, 48)


@pytest.mark.parametrize("rows", ROWS)
def test_both_sums_are_recovered(rows):
    bits, sum_bits = carry_bits(rows), 16 + rows.bit_length()
    m = Module()
    low, high = AnyConst(signed(FIELD_BITS + bits)), AnyConst(signed(sum_bits))
    packed, top = Signal(signed(48)), Signal(signed(sum_bits))
    recovered = Signal(signed(FIELD_BITS + bits))
    upper = Signal(signed(sum_bits))
    m.d.comb += [
        packed.eq((high << FIELD_BITS) + low),
        top.eq(packed[FIELD_BITS:]),
        recovered.eq(low_field(packed, high[:bits], bits=bits)),
        upper.eq(high_field(top, recovered)),
        Assert(recovered == low),
        Assert(upper == high),
    ]
    prove(m, ports=[], depth=1)


@pytest.mark.parametrize("rows", ROWS)
def test_side_chain_adds_products(rows):
    bits = carry_bits(rows)
    m = Module()
    side, weight, token, triple, total = AnyConst(bits), AnyConst(8), AnyConst(9), Signal(bits), Signal(bits)
    m.d.comb += [
        triple.eq(token + (token << 1)),
        total.eq(multiply_accumulate(side, weight[:bits], token[:bits], triple, bits=bits)),
        Assert(total == (side + weight.as_signed() * token.as_signed())[:bits]),
    ]
    prove(m, ports=[], depth=1)


def test_fewer_side_bits_would_not_do():
    """Two sums that differ by 2^bits in the high field and look the same: the chain has no bit to spare."""
    for rows, (weight, token) in itertools.product(ROWS, [(-128, 255)]):
        low = rows * weight * token
        bits = carry_bits(rows) - 1
        carry = ((low >> FIELD_BITS) + (1 << (bits - 1))) % (1 << bits) - (1 << (bits - 1))
        assert carry != low >> FIELD_BITS


def test_prover_finds_a_wrong_law():
    m = Module()
    value = AnyConst(8)
    m.d.comb += Assert(value != 77)
    with pytest.raises(AssertionError, match="FAIL"):
        prove(m, ports=[], depth=1)

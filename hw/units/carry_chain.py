"""Sums of a plain signal and one that has logic before it, on one LUT per bit."""

from amaranth.hdl import Cat, Const, Value

__all__ = ["plus"]


def plus(plain, made, carry):
    """(plain + made + carry) modulo 2^len(plain), of operands of the same length and a bit.

    A carry chain's LUT takes the logic of one operand only. Of a sum yosys may choose the wrong one, and then spends a
    second LUT per bit; of a difference it takes the subtrahend's. So this is plain - ~made - 1, with a bit below
    that borrows unless there is a carry.
    """
    plain = Value.cast(plain)
    difference = Cat(Const(0, 1), plain) - Cat(~Value.cast(carry), ~Value.cast(made))
    return difference[1 : len(plain) + 1]

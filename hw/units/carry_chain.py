"""Sums on one LUT per bit: of a plain signal and one that has logic before it, and of counters."""

from amaranth.hdl import Cat, Const, Mux, Value

__all__ = ["count_down", "plus", "up_down"]


def plus(plain, made, carry):
    """(plain + made + carry) modulo 2^len(plain), of operands of the same length and a bit.

    A carry chain's LUT takes the logic of one operand only. Of a sum yosys may choose the wrong one, and then spends a
    second LUT per bit; of a difference it takes the subtrahend's. So this is plain - ~made - 1, with a bit below
    that borrows unless there is a carry.
    """
    plain = Value.cast(plain)
    difference = Cat(Const(0, 1), plain) - Cat(~Value.cast(carry), ~Value.cast(made))
    return difference[1 : len(plain) + 1]


def count_down(level, *, load, value):
    """Mux(load, value, level - 1): the LUT before the chain chooses, so that there is none behind it."""
    return plus((~load).replicate(len(level)), Mux(load, value, level), 0)


def up_down(level, *, up, down):
    """level + up - down, of a bit each."""
    return plus(level, (down & ~up).replicate(len(level)), up & ~down)

"""Sums on one LUT per bit: of a plain signal and one that has logic before it, of several, and of counters."""

from itertools import count

from amaranth.hdl import Cat, Const, Mux, Shape, Signal, Value

__all__ = ["count_down", "plus", "total", "up_down"]


def plus(plain, made, carry):
    """(plain + made + carry) modulo 2^len(plain), of operands of the same length and a bit.

    A carry chain's LUT takes the logic of one operand only. Of a sum yosys may choose the wrong one, and then spends a
    second LUT per bit; of a difference it takes the subtrahend's. So this is plain - ~made - 1, with a bit below
    that borrows unless there is a carry.
    """
    plain = Value.cast(plain)
    difference = Cat(Const(0, 1), plain) - Cat(~Value.cast(carry), ~Value.cast(made))
    return difference[1 : len(plain) + 1]


def total(m, values, bits, name):
    """The sum of `values`, modulo 2^bits if that is less: a chain for each two, then for each two of their sums...

    Of additions of additions yosys makes a tree of LUTs before a single chain, which a mapping for area makes as deep
    as the design's deepest path. What `plus` makes it leaves as it is. Sums are signals ``{name}_sum0``...
    """
    values, made = [Value.cast(value) for value in values], count()
    while len(values) > 1:
        pairs = zip(values[::2], values[1::2], strict=False)
        sums = [_sum_of_two(m, low, high, bits, f"{name}_sum{next(made)}") for low, high in pairs]
        values = sums + values[2 * len(sums) :]
    return values[0]


def _sum_of_two(m, a, b, bits, name):
    shape = (a + b).shape()
    width = min(shape.width, bits)
    found, plain, made = (Signal(Shape(width, shape.signed), name=f"{name}{part}") for part in ("", "_plain", "_made"))
    m.d.comb += [plain.eq(a), made.eq(b), found.eq(plus(plain, made, 0))]
    return found


def count_down(level, *, load, value):
    """Mux(load, value, level - 1): the LUT before the chain chooses, so that there is none behind it."""
    return plus((~load).replicate(len(level)), Mux(load, value, level), 0)


def up_down(level, *, up, down):
    """level + up - down, of a bit each."""
    return plus(level, down.replicate(len(level)), up)

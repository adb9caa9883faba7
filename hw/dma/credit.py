"""Counting of room that is taken in bursts and given back word by word."""

from amaranth.hdl import Cat, Mux

from hw.units.carry_chain import plus

__all__ = ["credit"]


def credit(level, *, take, last, give):
    """`level` - (`last` + 1 when `take`) + (1 when `give`), in one carry chain; the low bits of the result count."""
    width = len(level)
    spent = Mux(take, ~Cat(last, *[0] * width)[:width], 0)  # -(last + 1) is ~last
    return plus(level, spent, give)

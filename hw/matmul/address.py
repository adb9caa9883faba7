"""Address arithmetic that can leave the address space but never wrap back into it."""

from amaranth.hdl import C, Cat

__all__ = ["advance", "extend"]


def extend(value, bits):
    """`value` as an address of `bits` bits plus, on top, a bit that says whether it did not fit."""
    return Cat(value[:bits], C(0, max(bits - len(value), 0)), value[bits:].any())


def advance(address, step):
    """`address` (n bits plus its top bit, see :func:`extend`) + `step` of at most n bits.

    Steps are never negative, so once the top bit is set the true address has n + 1 bits or more: it stays set.
    """
    bits = len(address) - 1
    total = address[:bits] + step[:bits]
    return Cat(total[:bits], address[bits] | total[bits] | step[bits:].any())

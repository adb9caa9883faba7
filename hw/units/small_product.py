"""Products of two narrow operands in a DSP slice, or in LUTs where a part has more of those to spare."""

from amaranth.hdl import Mux, Value

from hw.spec.vector import PRODUCT_PLACES
from hw.units.carry_chain import total
from hw.units.pipe import delay

__all__ = ["product_sum", "product_terms"]

DIGIT_BITS = 4  # of a factor in LUTs: two additions one after the other; 6.1 ns by hw.build.timing, with 8 bits 8.4 ns


def product_terms(m, a, b, name, *, step=None, place="dsp"):
    """Registers whose sum is a * b of one step before (see :func:`delay`); `b` is unsigned.

    In a DSP slice it is one. In LUTs there is one for each 4 bits of `b`, and only additions: no tool makes a DSP slice
    of them. They are for the next step's adder; so a unit's latency does not depend on where its products are.

    Raises ValueError for a `place` that is not of `PRODUCT_PLACES`.
    """
    if place not in PRODUCT_PLACES:
        raise ValueError(f"a product is in one of {', '.join(PRODUCT_PLACES)}, not {place!r}")
    a, b = Value.cast(a), Value.cast(b)
    if place == "dsp":
        made = [a * b]
    else:
        digits = [(low, b[low : low + DIGIT_BITS]) for low in range(0, len(b), DIGIT_BITS)]
        made = [_multiple(m, a, digit, f"{name}_digit{low}") << low for low, digit in digits]
    return [delay(m, value, 1, f"{name}_{k}", step=step) for k, value in enumerate(made)]


def product_sum(m, terms, bits, name, addend=None):
    """The sum of a product's terms, and of `addend`, modulo 2^bits if that is less; a DSP slice can add both of two."""
    terms = [*terms, *([] if addend is None else [addend])]
    return sum(terms[1:], terms[0]) if len(terms) <= 2 else total(m, terms, bits, name)


def _multiple(m, a, digit, name):
    """a * digit."""
    return total(m, [Mux(bit, a, 0) << place for place, bit in enumerate(digit)], len(a) + len(digit), name)

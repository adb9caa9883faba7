"""Tokens of a super-tile over the slices of a machine.

Slice k has consecutive tokens, as many as every other but for the last ones, which may have fewer or none. All slices
execute the same instructions, on as many rows as the first one has tokens: what the others compute of rows beyond their
tokens is never stored.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Part", "of_a_slice", "spread"]


@dataclass(frozen=True)
class Part:
    """What a slice has of a run of tokens: `tokens` from number `first` on, in rows from number `row` on."""

    slice: int
    row: int
    first: int
    tokens: int


def of_a_slice(tokens: int, slices: int) -> int:
    """Rows of a slice."""
    return -(-tokens // slices)


def spread(tokens: int, slices: int, first: int = 0, stop: int | None = None) -> list[Part]:
    """The slices that have some of the tokens from number `first` up to `stop` of a super-tile of `tokens`."""
    rows, found = of_a_slice(tokens, slices), []
    for number in range(slices):
        begin, end = max(number * rows, first), min((number + 1) * rows, tokens if stop is None else stop)
        if begin < end:
            found.append(Part(number, begin - number * rows, begin, end - begin))
    return found

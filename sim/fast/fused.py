"""Laws followed by requantization, in one pass: what comes between is never stored."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hw.spec import arith
from sim.fast.laws import FastLaws, factor, gelu_table, in_float, in_integers

__all__ = ["FusedLaws"]

Array = NDArray[Any]
_BIAS = 1 << 44  # of I-LayerNorm: with the 32 bits before it, the sum has 46


class FusedLaws:
    """The laws of `plain` whose results can be requantized at once, by `mult` and `shift` to `bits`.

    There is one factor, or one per column; `matmul` and `shift_gelu` take one. Where the fused kernel is not exact, law
    and requantization follow each other.
    """

    LAWS = frozenset({"linear", "matmul", "layer_norm", "shift_gelu"})

    def __init__(self, plain: FastLaws, mult: Array, shift: Array, bits: int) -> None:
        self._plain, self._mult, self._shift, self._bits = plain, mult, shift, bits
        self._kind = f"i{bits}"
        self._in_float = bits in {8, 16} and in_float(shift, bits)

    def _after(self, z: Array) -> Array:
        return self._plain.requantize(z, self._mult, self._shift, self._bits)

    def linear(self, x: Array, weight: Array, bias: Array) -> Array:
        """The sums go through float64, as in `FastLaws.requantize`."""
        out = None
        if self._in_float:
            factors = np.ascontiguousarray(np.broadcast_to(factor(self._mult, self._shift), len(weight)))
            out = self._plain.linear_as(self._kind, factors, x, weight, bias)
        return self._after(self._plain.linear(x, weight, bias)) if out is None else out

    def matmul(self, a: Array, b: Array) -> Array:
        """As `linear`, with one factor."""
        out = None
        if self._in_float and self._mult.size == 1:
            out = self._plain.matmul_as(self._kind, factor(self._mult, self._shift), a, b)
        return self._after(self._plain.matmul(a, b)) if out is None else out

    def layer_norm(self, x: Array, bias: Array) -> Array:
        """In 64-bit integers: before the bias a value has 32 bits, as |x - mean| is at most the root."""
        out = None
        if self._bits in {8, 16} and in_integers(self._shift, True) and int(np.abs(bias).max(initial=0)) < _BIAS:
            factors = (np.ascontiguousarray(self._mult, np.int64), np.ascontiguousarray(self._shift, np.int64))
            out = self._plain.layer_norm_as(self._kind, (*factors, self._mult.size), x, bias)
        return self._after(self._plain.layer_norm(x, bias)) if out is None else out

    def shift_gelu(self, x: Array, i0: int, terms: int = arith.GELU_TERMS) -> Array:
        """The law's table, requantized by the law."""
        out = None
        if self._mult.size == 1 and self._bits in {8, 16}:
            out = self._plain.look_up(x, _table(i0, terms, int(self._mult[0]), int(self._shift[0]), self._bits))
        return self._after(self._plain.shift_gelu(x, i0, terms)) if out is None else out


@functools.lru_cache(64)
def _table(i0: int, terms: int, mult: int, shift: int, bits: int) -> Array:
    return np.ascontiguousarray(arith.requantize(gelu_table(i0, terms), mult, shift, bits), f"int{bits}")

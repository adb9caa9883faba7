"""`hw.spec.arith`'s operators on compiled kernels: same names, arguments and values, narrower types, many times faster.

Each method runs its kernel where that is exact and calls the law itself everywhere else. What makes a kernel exact is
stated at the method: a bound of what its 32 or 64 bits hold, or a table that the law filled.
"""

from __future__ import annotations

import functools
import warnings
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hw.spec import arith
from sim.fast.library import Kernels, load
from sim.libraries import BuildError

__all__ = ["FastLaws", "fast_laws"]

Array = NDArray[Any]
_INT32 = arith.INT32_MAX
_NARROW = {np.dtype(np.int8), np.dtype(np.int16)}
_BYTE = np.arange(-128, 128)


class FastLaws:
    """int8 and int16 inputs give int8, int16 or int32 results, and int64 after I-LayerNorm; other inputs the law's."""

    def __init__(self, kernels: Kernels) -> None:
        self._kernels, self.processor = kernels, kernels.processor
        self._packed: dict[int, _Weights] = {}

    def linear(self, x: Array, weight: Array, bias: Array) -> Array:
        """32-bit sums, where 128 * the row sums of |weight| + |bias| bound every one of them."""
        packed = self._weights(weight, bias) if x.dtype == np.int8 else None
        if packed is None or packed.words is None:
            return arith.linear(x, weight, bias)
        outputs, depth = weight.shape
        out = np.empty((*x.shape[:-1], outputs), np.int32)
        x = np.ascontiguousarray(x)
        self._kernels("linear", x, x.size // depth, depth, packed.words, packed.fix, outputs, out)
        return out

    def _weights(self, weight: Array, bias: Array) -> _Weights:
        """The packed `weight`, kept as long as it lives and packed again when its contents change."""
        found = self._packed.get(id(weight))
        if found is None or not found.of(weight, bias):
            if found is None:
                weakref.finalize(weight, self._packed.pop, id(weight), None)
            found = self._packed[id(weight)] = _Weights(self._kernels, weight, bias)
        return found

    def matmul(self, a: Array, b: Array) -> Array:
        """int8 or int16 times int8 in 32 bits, where depth or else the row sums of |a| bound the result."""
        if b.dtype != np.int8 or a.dtype not in _NARROW:
            return arith.matmul(a, b)
        if not 2 <= a.ndim == b.ndim or a.shape[:-2] != b.shape[:-2] or a.shape[-1] != b.shape[-2]:
            return arith.matmul(a, b)
        bound = a.shape[-1] << (7 if a.dtype == np.int8 else 15)
        if bound << 7 > _INT32 and 128 * int(np.abs(a.astype(np.int64)).sum(axis=-1).max(initial=0)) > _INT32:
            return arith.matmul(a, b)
        if a.strides[-1] != a.itemsize:
            a = np.ascontiguousarray(a)
        out = np.empty((*a.shape[:-1], b.shape[-1]), np.int32)
        views = [_heads(array) for array in (a, b, out)]
        shape = np.array([*views[0].shape, b.shape[-1]], np.int64)
        pointers = [part for view in views for part in (view, np.array(view.strides, np.int64) // view.itemsize)]
        self._kernels("matmul_i8" if a.dtype == np.int8 else "matmul_i16", *pointers, shape)
        return out

    def requantize(
        self, z: Array, mult: Array, shift: Array, bits: int, *,
        identity: Array | None = None, mult_identity: Array | None = None, shift_identity: Array | None = None,
    ) -> Array:  # fmt: skip
        """Through float64 or 64-bit integers, each where it is exact.

        v = z * mult / 2^shift rounded to float64 is off by less than 2^(bits-53) wherever it is not clamped. While
        shift < 53 - bits, that does not reach a half, which is 2^-shift away or more; nor does it cross one, as halves
        are float64 numbers and rounding is monotone.
        In 64 bits, 32-bit z times 33-bit mult leaves room for the rounding's half while shift <= 62; z of 46 bits is
        multiplied by halves of mult, as the law does it, from shift 17 on.
        """
        if identity is None:
            out = self._requantize(z, mult, shift, bits)
        else:
            out = self._add(z, identity, (mult, shift, mult_identity, shift_identity), bits)
        if out is None:
            return arith.requantize(
                z, mult, shift, bits, identity=identity, mult_identity=mult_identity, shift_identity=shift_identity
            )
        return out

    def _requantize(self, z: Array, mult: Array, shift: Array, bits: int) -> Array | None:
        if z.dtype in _NARROW:
            z = z.astype(np.int32)
        columns, wide = z.shape[-1], z.dtype == np.int64
        if z.dtype not in {np.dtype(np.int32), np.dtype(np.int64)} or bits not in {8, 16} or not z.size:
            return None
        if mult.shape != shift.shape or mult.shape not in {(1,), (columns,)}:
            return None
        least, most = int(shift.min()), int(shift.max())
        z, out, shape = np.ascontiguousarray(z), np.empty(z.shape, f"int{bits}"), (z.size // columns, columns)
        if not wide and least >= 0 and most < 53 - bits:
            self._kernels(f"requantize_float_i{bits}", z, *shape, _factor(mult, shift), mult.size, out)
            return out
        if not (17 if wide else 0) <= least <= most <= 62:
            return None
        factors = (np.ascontiguousarray(mult, np.int64), np.ascontiguousarray(shift, np.int64))
        refused = self._kernels(f"requantize_i{64 if wide else 32}_i{bits}", z, *shape, *factors, mult.size, out)
        return None if refused else out

    def _add(self, x: Array, identity: Array, factors: Any, bits: int) -> Array | None:
        """Products of 16 by 33 bits are exact in float64, of 32 by 33 bits if x has no more than 20."""
        if x.dtype == np.int8:
            x = x.astype(np.int16)
        if identity.dtype not in _NARROW or bits not in {8, 16} or any(factor.size != 1 for factor in factors):
            return None
        if x.dtype != np.int16 and (x.dtype != np.int32 or int(np.abs(x).max(initial=0)) >= 1 << 20):
            return None
        shape = np.broadcast_shapes(x.shape, identity.shape)
        x = np.ascontiguousarray(np.broadcast_to(x, shape))
        identity = np.ascontiguousarray(np.broadcast_to(identity, shape), np.int16)
        out = np.empty(shape, f"int{bits}")
        mult, shift, mult_identity, shift_identity = factors
        first, second = _factor(mult, shift), _factor(mult_identity, shift_identity)
        self._kernels(f"add_i{8 * x.itemsize}_i{bits}", x, first, identity, second, out.size, out)
        return out

    def layer_norm(self, x: Array, bias: Array) -> Array:
        """Squares of 17-bit differences sum up to 54 bits over 2^20 channels; the difference times F has 48."""
        if x.dtype not in _NARROW or not 0 < x.shape[-1] <= 1 << 20:
            return arith.layer_norm(x, bias)
        x = np.ascontiguousarray(x, np.int16)
        out, bias = np.empty(x.shape, np.int64), np.ascontiguousarray(np.broadcast_to(bias, x.shape[-1:]), np.int64)
        rows, length = x.size // x.shape[-1], x.shape[-1]
        self._kernels("norm", x, rows, length, bias, arith.NEWTON_START, arith.NEWTON_STEPS, out)
        return out

    def shiftmax(
        self, x: Array, i0: int, bits: int = 16, terms: int = arith.SOFTMAX_TERMS, mask: Array | None = None
    ) -> Array:
        """The law's table of E for d from -255 to 0. Where E has 31 bits so has E*F, E being a term of the sum."""
        table = _exponentials(i0, terms) if x.dtype == np.int8 and x.size and bits in {8, 16} else None
        if table is None or (mask is not None and (mask.ndim != x.ndim or mask.shape[-1] != x.shape[-1])):
            return arith.shiftmax(x, i0, bits, terms, mask)
        hidden = which = None
        if mask is not None:
            hidden = np.ascontiguousarray(mask != 0, np.int8)
            which = np.arange(mask[..., 0].size).reshape(mask.shape[:-1])
            which = np.ascontiguousarray(np.broadcast_to(which, x.shape[:-1]), np.int64)
        out, rows = np.empty(x.shape, f"int{bits}"), x.size // x.shape[-1]
        x = np.ascontiguousarray(x)
        self._kernels(f"shiftmax_i{bits}", x, rows, x.shape[-1], table, hidden, which, i0, out)
        return out

    def shift_gelu(self, x: Array, i0: int, terms: int = arith.GELU_TERMS) -> Array:
        """The law's table of x * sigma for every value and row maximum."""
        if x.dtype != np.int8 or not x.size:
            return arith.shift_gelu(x, i0, terms)
        out = np.empty(x.shape, np.int32)
        rows, length = x.size // x.shape[-1], x.shape[-1]
        self._kernels("gelu", np.ascontiguousarray(x), rows, length, _gelu_table(i0, terms), out)
        return out


@functools.cache
def fast_laws() -> Any:
    """The fast laws; where they cannot be compiled, a warning and `hw.spec.arith` itself."""
    try:
        return FastLaws(load())
    except BuildError as error:
        warnings.warn(f"the golden model runs on NumPy, far slower: {error}", RuntimeWarning, stacklevel=3)
        return arith


class _Weights:
    """A weight matrix [out, in] as `words` in the order the kernel reads; None if a sum could exceed 32 bits."""

    def __init__(self, kernels: Kernels, weight: Array, bias: Array) -> None:
        outputs, depth = weight.shape
        self._weight, self._bias, self.words = weight.copy(), bias.copy(), None
        bound = 128 * np.abs(weight.astype(np.int64)).sum(axis=1) + np.abs(bias.astype(np.int64))
        if weight.dtype == np.int8 and bound.max(initial=0) <= _INT32:
            self.fix = np.empty(outputs, np.int32)
            self.words = np.empty(kernels("packed_size", outputs, depth), np.int8)
            weight, bias = np.ascontiguousarray(weight), np.ascontiguousarray(bias, np.int32)
            kernels("pack_weight", weight, outputs, depth, bias, self.words, self.fix)

    def of(self, weight: Array, bias: Array) -> bool:
        """Whether these still are the arrays' contents."""
        return np.array_equal(self._weight, weight) and np.array_equal(self._bias, bias)


def _heads(x: Array) -> Array:
    """[..., heads, n, m] as [batch, heads, n, m], a view where strides allow it."""
    return x[(None,) * (4 - x.ndim)] if x.ndim <= 4 else x.reshape(-1, *x.shape[-3:])


def _factor(mult: Array, shift: Array) -> Array:
    """mult / 2^shift in float64, exact: mult has 33 bits at most."""
    return np.ldexp(np.atleast_1d(mult).astype(np.float64), -np.atleast_1d(shift).astype(np.int32))


@functools.lru_cache(64)
def _exponentials(i0: int, terms: int) -> Array | None:
    table = np.asarray(arith.shift_exp(np.arange(-255, 1), i0, terms))
    return table.astype(np.int32) if int(table.max()) <= _INT32 else None


@functools.lru_cache(64)
def _gelu_table(i0: int, terms: int) -> Array:
    """[maximum + 128][x + 128], 17 bits; 0 where x exceeds the maximum, which does not occur."""
    top, x = _BYTE[:, None], _BYTE[None]
    table = np.where(x <= top, x * arith.gelu_sigma(np.minimum(x, top), top, i0, terms), 0)
    return np.ascontiguousarray(table, np.int32)

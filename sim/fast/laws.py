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

__all__ = ["FastLaws", "factor", "fast_laws", "gelu_table", "in_float", "in_integers"]

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
        """32-bit sums, where 128 * the row sums of |weight| + |bias| bound every one of them; int16 x as two planes."""
        out = self._linear_of_planes(x, weight, bias) if x.dtype == np.int16 else None
        if out is None:
            out = self.linear_as("i32", None, x, weight, bias)
        return arith.linear(x, weight, bias) if out is None else out

    def _linear_of_planes(self, x: Array, weight: Array, bias: Array) -> Array | None:
        """x = 256*high + (low - 128) + 128, both int8. Sums modulo 2^32 are right where 2^15 * row sums fit in it."""
        sums = np.abs(weight.astype(np.int64)).sum(axis=1) if weight.dtype == np.int8 else None
        if sums is None or ((sums << 15) + np.abs(bias.astype(np.int64))).max(initial=0) > _INT32:
            return None
        none = np.zeros(len(weight), np.int32)
        high, low = (x >> 8).astype(np.int8), ((x & 255) - 128).astype(np.int8)
        parts = [self.linear_as("i32", None, plane, weight, none) for plane in (high, low)]
        rest = (bias + 128 * weight.sum(axis=1, dtype=np.int64)).astype(np.int64)
        out: Array = (parts[0] << 8) + parts[1] + arith.wrap(rest).astype(np.int32)
        return out

    def linear_as(self, kind: str, factors: Array | None, x: Array, weight: Array, bias: Array) -> Array | None:
        """The sums as type `kind`, times `factors` by column in float64 unless that is i32; None if not exact."""
        packed = self._weights(weight, bias) if x.dtype == np.int8 else None
        if packed is None or packed.words is None:
            return None
        outputs, depth = weight.shape
        x, out = np.ascontiguousarray(x), np.empty((*x.shape[:-1], outputs), kind.replace("i", "int"))
        rows = x.size // depth
        self._kernels(f"linear_{kind}", x, rows, depth, packed.words, packed.fix, outputs, factors, out)
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
        out = self.matmul_as("i32", None, a, b)
        return arith.matmul(a, b) if out is None else out

    def matmul_as(self, kind: str, factor: Array | None, a: Array, b: Array) -> Array | None:
        """As `linear_as`, with one factor."""
        if b.dtype != np.int8 or a.dtype not in _NARROW:
            return None
        if not 2 <= a.ndim == b.ndim or a.shape[:-2] != b.shape[:-2] or a.shape[-1] != b.shape[-2]:
            return None
        bound = a.shape[-1] << (7 if a.dtype == np.int8 else 15)
        if bound << 7 > _INT32 and 128 * int(np.abs(a.astype(np.int64)).sum(axis=-1).max(initial=0)) > _INT32:
            return None
        if a.strides[-1] != a.itemsize:
            a = np.ascontiguousarray(a)
        out = np.empty((*a.shape[:-1], b.shape[-1]), kind.replace("i", "int"))
        left, right, result = (_heads(array) for array in (a, b, out))
        self._kernels(
            f"matmul_i{8 * a.itemsize}_{kind}", left, _strides(left), right, _strides(right), factor, result,
            _strides(result), np.array([*left.shape, b.shape[-1]], np.int64),
        )  # fmt: skip
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
        if mult.shape == shift.shape == (*z.shape[-3:-2], 1, 1):
            heads = [self._requantize(z[..., h, :, :], mult[h, 0], shift[h, 0], bits) for h in range(len(mult))]
            done = [head for head in heads if head is not None]
            return np.stack(done, axis=-3) if len(done) == len(heads) else None
        if mult.shape != shift.shape or mult.shape not in {(1,), (columns,)}:
            return None
        z, out, shape = np.ascontiguousarray(z), np.empty(z.shape, f"int{bits}"), (z.size // columns, columns)
        if not wide and in_float(shift, bits):
            self._kernels(f"requantize_float_i{bits}", z, *shape, factor(mult, shift), mult.size, out)
            return out
        if not in_integers(shift, wide):
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
        if x.dtype != np.int16 and (x.dtype != np.int32 or max(int(x.max()), -int(x.min())) >= 1 << 20):
            return None
        shape = np.broadcast_shapes(x.shape, identity.shape)
        x = np.ascontiguousarray(np.broadcast_to(x, shape))
        identity = np.ascontiguousarray(np.broadcast_to(identity, shape), np.int16)
        out = np.empty(shape, f"int{bits}")
        mult, shift, mult_identity, shift_identity = factors
        first, second = factor(mult, shift), factor(mult_identity, shift_identity)
        self._kernels(f"add_i{8 * x.itemsize}_i{bits}", x, first, identity, second, out.size, out)
        return out

    def layer_norm(self, x: Array, bias: Array) -> Array:
        """Squares of 17-bit differences sum up to 54 bits over 2^20 channels; the difference times F has 48."""
        out = self.layer_norm_as("i64", (), x, bias)
        return arith.layer_norm(x, bias) if out is None else out

    def layer_norm_as(self, kind: str, factors: tuple[Array | int, ...], x: Array, bias: Array) -> Array | None:
        """Rows as type `kind`, requantized by mult, shift and their number unless that is i64; None if not exact."""
        if x.dtype not in _NARROW or not 0 < x.shape[-1] <= 1 << 20:
            return None
        x, out = np.ascontiguousarray(x, np.int16), np.empty(x.shape, kind.replace("i", "int"))
        rows, length = x.size // x.shape[-1], x.shape[-1]
        bias = np.ascontiguousarray(np.broadcast_to(bias, length), np.int64)
        newton = (arith.NEWTON_START, arith.NEWTON_STEPS)
        self._kernels(f"norm_{kind}", x, rows, length, bias, *newton, *factors, out)
        return out

    def shiftmax(
        self, x: Array, i0: Any, bits: int = 16, terms: int = arith.SOFTMAX_TERMS, mask: Array | None = None, *,
        fraction: Any = 0,
    ) -> Array:  # fmt: skip
        """The law's table of E for d from -255 to 0. Where E has 31 bits so has E*F, E being a term of the sum."""
        if np.size(i0) > 1 or np.size(fraction) > 1:
            i0, fraction = (
                np.broadcast_to(np.asarray(a).reshape(-1, 1, 1), (x.shape[-3], 1, 1)) for a in (i0, fraction)
            )
            rows = None if mask is None else np.broadcast_to(mask, np.broadcast_shapes(mask.shape, (1,) * x.ndim))
            of = [None if rows is None else rows[..., h % rows.shape[-3], :, :] for h in range(x.shape[-3])]
            each = (
                self.shiftmax(x[..., h, :, :], i0[h].item(), bits, terms, of[h], fraction=fraction[h].item())
                for h in range(x.shape[-3])
            )
            return np.stack(list(each), axis=-3)
        i0, fraction = np.asarray(i0).item(), np.asarray(fraction).item()
        table = _exponentials(i0, terms, fraction) if x.dtype == np.int8 and x.size and bits in {8, 16} else None
        if table is None or (mask is not None and (mask.ndim != x.ndim or mask.shape[-1] != x.shape[-1])):
            return arith.shiftmax(x, i0, bits, terms, mask, fraction=fraction)
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
        out = self.look_up(x, gelu_table(i0, terms)) if x.dtype == np.int8 else None
        return arith.shift_gelu(x, i0, terms) if out is None else out

    def table(self, x: Array, entries: Array) -> Array:
        """One look-up by the byte, unsigned."""
        if x.dtype != np.int8:
            return arith.table(x, entries)
        order = np.roll(np.asarray(entries, np.int16), 128)  # of x as an unsigned byte: 0 to 127, then -128 to -1
        narrow = int(order.min()) >= -128 and int(order.max()) <= 127
        return np.take(order.astype(np.int8) if narrow else order, x.view(np.uint8))

    def look_up(self, x: Array, table: Array) -> Array | None:
        """table[row maximum + 128][value + 128] of int8 rows."""
        if x.dtype != np.int8 or not x.size:
            return None
        out = np.empty(x.shape, table.dtype)
        kind, rows = f"gelu_i{8 * table.itemsize}", x.size // x.shape[-1]
        self._kernels(kind, np.ascontiguousarray(x), rows, x.shape[-1], table, out)
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


def _strides(x: Array) -> Array:
    """In elements, as the kernels take them."""
    return np.array(x.strides, np.int64) // x.itemsize


def factor(mult: Array, shift: Array) -> Array:
    """mult / 2^shift in float64, exact: mult has 33 bits at most."""
    return np.ldexp(np.atleast_1d(mult).astype(np.float64), -np.atleast_1d(shift).astype(np.int32))


def in_float(shift: Array, bits: int) -> bool:
    """Whether requantizing 32-bit numbers through float64 is exact: see `FastLaws.requantize`."""
    return int(shift.min()) >= 0 and int(shift.max()) < 53 - bits


def in_integers(shift: Array, wide: bool) -> bool:
    """Whether 64 bits are enough to requantize 32-bit numbers, or `wide` ones of 46 bits: see `FastLaws.requantize`."""
    return (17 if wide else 0) <= int(shift.min()) and int(shift.max()) <= 62


@functools.lru_cache(64)
def _exponentials(i0: int, terms: int, fraction: int) -> Array | None:
    table = np.asarray(arith.shift_exp(np.arange(-255, 1) << fraction, i0, terms))
    return table.astype(np.int32) if int(table.max()) <= _INT32 else None


@functools.lru_cache(64)
def gelu_table(i0: int, terms: int) -> Array:
    """[maximum + 128][x + 128], 17 bits; 0 where x exceeds the maximum, which does not occur."""
    top, x = _BYTE[:, None], _BYTE[None]
    table = np.where(x <= top, x * arith.gelu_sigma(np.minimum(x, top), top, i0, terms), 0)
    return np.ascontiguousarray(table, np.int32)

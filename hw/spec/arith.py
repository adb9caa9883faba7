"""The laws: every integer function the machine computes, vectorised, exact at any size, without floats.

Arguments are integers or integer arrays and broadcast; results are int64 arrays (NumPy scalars for scalars).
``>>`` is floor division by a power of two, for negative numbers too; RNE is rounding half to even.
Section numbers are those of I-ViT's integer semantics as its official code has them: 2 requantization,
3 products, 4 Shiftmax, 5 ShiftGELU, 6 I-LayerNorm.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "GELU_TERMS", "INT32_MAX", "NEWTON_START", "NEWTON_STEPS", "SOFTMAX_TERMS", "divide_round", "gelu_max_exp",
    "gelu_sigma", "layer_norm", "linear", "masked", "matmul", "moments", "norm_root", "normalize", "planes",
    "reciprocal", "requantize", "round_shift", "rounded", "saturate", "shift_exp", "shift_exp_parts", "shift_gelu",
    "shiftmax", "shiftmax_apply", "shiftmax_sum", "table", "wrap",
]  # fmt: skip

Ints = NDArray[Any]

INT32_MAX = (1 << 31) - 1  # numerator of every reciprocal and bound of every exponential sum
SOFTMAX_TERMS = 15  # n of Shiftmax: exponentials below 2^-15 of the maximum are all alike
GELU_TERMS = 23  # n of ShiftGELU
NEWTON_START = 1 << 16
NEWTON_STEPS = 10
_EXACT_FLOAT = 1 << 53  # every integer up to here is a float64
_WORD = 1 << 63


def _ints(x: ArrayLike) -> Ints:
    """`x` as int64, or as an array of Python integers if it is one already or does not fit."""
    array = np.asarray(x)
    if array.dtype == object:
        return array
    if array.dtype.kind not in "iub":
        raise TypeError(f"integers expected, not {array.dtype}")
    if array.dtype == np.uint64 and array.size and int(array.max()) >= _WORD:
        return array.astype(object)
    return array.astype(np.int64)


def _bound(x: Ints) -> int:
    """Largest magnitude in `x`."""
    return max(int(x.max()), -int(x.min())) if x.size else 0


def round_shift(x: ArrayLike, s: ArrayLike) -> Ints:
    """RNE(x / 2^s), s from 0 to 63. The result has max(bits(x) - s, 0) + 1 bits at most. Section 2."""
    x, s = _ints(x), _ints(s)
    doubled = x >> np.maximum(s - 1, 0)  # twice the quotient, floored: its last bit is the half
    sticky = (x & ((1 << np.maximum(s - 1, 0)) - 1)) != 0
    floor = doubled >> 1
    up = doubled & 1 & (sticky | floor)
    return np.where(s == 0, x, floor + up)[()]


def divide_round(a: ArrayLike, b: ArrayLike) -> Ints:
    """RNE(a / b) for b > 0: the mean of I-LayerNorm, |a| <= 2^26 and b <= 4096 there. Section 6."""
    a, b = _ints(a), _ints(b)
    quotient = a // b
    twice = 2 * (a - quotient * b)  # 0 .. 2b-2
    return quotient + ((twice > b) | ((twice == b) & (quotient & 1 == 1)))


def saturate(x: ArrayLike, bits: int) -> Ints:
    """`x` clamped to -2^(bits-1) .. 2^(bits-1)-1, the asymmetric two's-complement range. Section 2."""
    limit = 1 << (bits - 1)
    return np.clip(_ints(x), -limit, limit - 1).astype(np.int64)[()]


def wrap(x: ArrayLike, bits: int = 32) -> Ints:
    """`x` modulo 2^bits, read as two's complement (bits < 64): what an accumulator of that width holds."""
    x, limit = _ints(x), 1 << (bits - 1)
    return ((x + limit) & ((1 << bits) - 1)) - limit


def rounded(z: ArrayLike, mult: ArrayLike, shift: ArrayLike) -> Ints:
    """RNE(z * mult / 2^shift), unclamped; shift from 0 to 63. Section 2.

    Exact whatever the product's size (34 x 33 bits after I-LayerNorm). int64 where the largest product fits,
    else two 16-bit-split halves of it, else Python integers.
    """
    z, mult, shift = _ints(z), _ints(mult), _ints(shift)
    product = _bound(z) * _bound(mult)
    if product < _WORD and object not in {z.dtype, mult.dtype}:
        return round_shift(z * mult, shift)
    if product < 1 << 76 and _bound(z) < 1 << 46 and _bound(mult) < 1 << 46 and shift.size and int(shift.min()) >= 17:
        # product = 2^16 * high + low with low unsigned 16 bit, |high| < 2^61; low is below the half bit
        part = z * (mult & 0xFFFF)
        high, low = z * (mult >> 16) + (part >> 16), part & 0xFFFF
        return round_shift(2 * high | (low != 0), shift - 15)
    return round_shift(z.astype(object) * mult.astype(object), shift.astype(object))


def requantize(
    z: ArrayLike,
    mult: ArrayLike,
    shift: ArrayLike,
    bits: int,
    *,
    identity: ArrayLike | None = None,
    mult_identity: ArrayLike | None = None,
    shift_identity: ArrayLike | None = None,
) -> Ints:
    """clamp(RNE(z*m/2^e) + RNE(identity*m1/2^e1)) to `bits`: two roundings, one clamp, after the sum. Section 2."""
    total = rounded(z, mult, shift)
    if identity is not None:
        if mult_identity is None or shift_identity is None:
            raise TypeError("an identity needs mult_identity and shift_identity")
        total = total + rounded(identity, mult_identity, shift_identity)
    return saturate(total, bits)


def shift_exp_parts(d: ArrayLike, i0: ArrayLike, terms: int) -> tuple[Ints, Ints]:
    """(mantissa, q) of ShiftExp: E = (mantissa << (terms - q)) >> 1. Section 4, steps 2 to 4.

    p = d + d/2 - d/16 approximates d*log2(e); below -terms*i0 it is clamped; p = -q*i0 + r, mantissa = 2*i0 + r.
    For d <= 0: q from 0 to terms, i0 < mantissa <= 2*i0. For d > 0 (see `gelu_max_exp`) q is negative.
    """
    d, i0 = _ints(d), _ints(i0)
    p = np.maximum(d + (d >> 1) - (d >> 4), -terms * i0)
    q = -p // i0
    return 2 * i0 + p + q * i0, q


def shift_exp(d: ArrayLike, i0: ArrayLike, terms: int = SOFTMAX_TERMS) -> Ints:
    """ShiftExp: E ~ i0 * 2^terms * exp(d*scale). Section 4, step 5.

    For d from -255 to 0: i0 <= E <= i0 * 2^terms, so terms + 10 bits at i0 <= 1023. Exact for d > 0 too.
    """
    mantissa, q = shift_exp_parts(d, i0, terms)
    if mantissa.size and _bound(mantissa) << max(0, terms - int(q.min())) >= _WORD:
        mantissa, q = mantissa.astype(object), q.astype(object)
    return (mantissa << (terms - q)) >> 1


def reciprocal(s: ArrayLike) -> Ints:
    """floor((2^31-1) / s) for s >= 1. Sections 4, 5 and 6."""
    return INT32_MAX // _ints(s)


def shiftmax_sum(
    x: ArrayLike, row_max: ArrayLike, i0: ArrayLike, terms: int = SOFTMAX_TERMS, *, start: ArrayLike = 0,
    fraction: ArrayLike = 0,
) -> Ints:  # fmt: skip
    """F = reciprocal(min(start + sum of E((x - row_max) << fraction), 2^31-1)) of each row (last axis). Section 4,
    steps 5 and 6; its scores have no `fraction` bits.

    `start` stands for masked elements that are not in the row: i0 for each of them, from 0 to 2^22-1.
    `row_max` and the result have x's shape without its last axis. The sum is at least i0*2^15, so F <= 65535/i0.
    """
    x = _ints(x)
    difference = (x - _ints(row_max)[..., None]) << _ints(fraction)
    total = shift_exp(difference, i0, terms).sum(axis=-1) + _ints(start)
    return reciprocal(np.minimum(total, INT32_MAX))


def shiftmax_apply(
    x: ArrayLike, row_max: ArrayLike, factor: ArrayLike, i0: ArrayLike, bits: int = 16, terms: int = SOFTMAX_TERMS, *,
    fraction: ArrayLike = 0,
) -> Ints:  # fmt: skip
    """P = (E*F) >> (32 - bits), elementwise, all arguments broadcast. Section 4, step 7.

    E*F <= 2^31-1 because E is one of the terms of the sum that F divides; P is from 0 to 2^(bits-1)-1.
    """
    return (shift_exp((_ints(x) - _ints(row_max)) << _ints(fraction), i0, terms) * _ints(factor)) >> (32 - bits)


def masked(x: ArrayLike, mask: ArrayLike, i0: ArrayLike, terms: int = SOFTMAX_TERMS) -> Ints:
    """Scores whose Shiftmax is that of `x` without the entries where `mask` (broadcasts) is not 0. Section 4.

    Masked scores lie terms*i0 below the maximum of their row's others: they are not the maximum, and ShiftExp's clamp
    makes each E = i0, the least there is, which the sum includes and of which P is 0.
    """
    x, hidden = np.broadcast_arrays(_ints(x), _ints(mask) != 0)
    row_max = np.where(hidden, np.iinfo(np.int64).min, x).max(axis=-1, keepdims=True)
    return np.where(hidden, row_max - terms * _ints(i0), x)


def shiftmax(
    x: ArrayLike, i0: ArrayLike, bits: int = 16, terms: int = SOFTMAX_TERMS, mask: ArrayLike | None = None, *,
    fraction: ArrayLike = 0,
) -> Ints:  # fmt: skip
    """Shiftmax of each row (last axis) of int8 scores: probabilities scaled by 2^(bits-1). Section 4.

    `bits` is 16, or 8 for the 8-bit probabilities of Swin and of the paper's deployment. Row sums stay below
    2^(bits-1) unless the sum of exponentials is clamped (N*i0 >= 65536, a range of scores nobody calibrates to).
    A `mask`, 1 where Swin must not look, has the meaning of `masked`; it leaves at least one entry of every row.

    The law of I-ViT has I0 = ceil(1/scale), which cannot follow scales near or above 1. With `fraction` bits f behind
    the point of the scores' differences, d << f, and I0 = ceil(2^f/scale), any scale is followed; f = 0 is that law.
    `i0` and `fraction` are numbers or broadcast against x: one of each head is [heads, 1, 1].
    """
    x = _ints(x) if mask is None else masked(x, mask, i0, terms)
    row_max = x.max(axis=-1)
    factor = shiftmax_sum(x, row_max, i0, terms, fraction=fraction)
    return shiftmax_apply(x, row_max[..., None], factor[..., None], i0, bits, terms, fraction=fraction)


def table(x: ArrayLike, entries: ArrayLike) -> Ints:
    """entries[x + 128] of int8 x: any function of a byte, as exact as its 256 entries are rounded."""
    return _ints(entries)[_ints(x) + 128]


def gelu_max_exp(row_max: ArrayLike, i0: ArrayLike, terms: int = GELU_TERMS) -> Ints:
    """EM = min(E(-row_max), 2^31-1). Section 5, step 1. -row_max may be positive, up to 128, and q negative.

    The mantissa is at least 2, so every exponent from 32 on saturates and need not be larger.
    """
    mantissa, q = shift_exp_parts(-_ints(row_max), i0, terms)
    return np.minimum((mantissa << np.minimum(terms - q, 32)) >> 1, INT32_MAX)


def gelu_sigma(x: ArrayLike, row_max: ArrayLike, i0: ArrayLike, terms: int = GELU_TERMS) -> Ints:
    """sigma = (E*F) >> 24, F = reciprocal(min(E + EM, 2^31-1)), elementwise; `row_max` broadcasts. Section 5.

    x <= row_max. 0..127 while i0 <= 255, at most i0/2 beyond; E*F <= 2^31-1 while i0 <= 255, below 2^33 always.
    """
    exp = shift_exp(_ints(x) - _ints(row_max), i0, terms)
    total = np.minimum(exp + gelu_max_exp(row_max, i0, terms), INT32_MAX)
    return (exp * reciprocal(total)) >> 24


def shift_gelu(x: ArrayLike, i0: ArrayLike, terms: int = GELU_TERMS) -> Ints:
    """x * sigma of each row (last axis: all hidden channels of a token) of int8. Section 5, step 3.

    15 bits signed while i0 <= 255, 17 bits at i0 = 1023 (128 * 511).
    """
    x = _ints(x)
    return x * gelu_sigma(x, x.max(axis=-1, keepdims=True), i0, terms)


def norm_root(v: ArrayLike) -> Ints:
    """Ten steps of k = (k + floor(V/k)) >> 1 from 65536. Section 6, step 3.

    V < 2^42; k < 2^25 on the way and never 0. The result is floor(sqrt(V)) or one more from sqrt(V) = 186 on; it has
    not converged below (64 at V = 0), which the law includes.
    """
    v = _ints(v)
    k = np.full_like(v, NEWTON_START)
    for _ in range(NEWTON_STEPS):
        k = (k + v // k) >> 1
    return k[()]


def moments(x: ArrayLike) -> tuple[Ints, Ints]:
    """(mean, F) of each row (last axis), keeping the other axes: mean = RNE(sum/C), F = reciprocal(norm_root(V)).

    V = sum of (x - mean)^2, at most C * 2^30 for int16: 42 bits at C = 4096. F < 2^25. Section 6, steps 1 to 4.
    """
    x = _ints(x)
    mean = divide_round(x.sum(axis=-1), x.shape[-1])
    y = x - mean[..., None]
    return mean, reciprocal(norm_root((y * y).sum(axis=-1)))


def normalize(x: ArrayLike, mean: ArrayLike, factor: ArrayLike, bias: ArrayLike) -> Ints:
    """(((x - mean) * F) >> 1) + bias, elementwise, all arguments broadcast. Section 6, steps 4 and 5.

    The product of a 17-bit difference and F has at most 32 bits, as |x - mean| <= root; with a 34-bit bias, 35 bits.
    """
    return (((_ints(x) - _ints(mean)) * _ints(factor)) >> 1) + _ints(bias)


def layer_norm(x: ArrayLike, bias: ArrayLike) -> Ints:
    """I-LayerNorm of each row (last axis) plus an integer bias per channel. Section 6."""
    mean, factor = moments(x)
    return normalize(x, mean[..., None], factor[..., None], bias)


def matmul(a: ArrayLike, b: ArrayLike) -> Ints:
    """a @ b over the last two axes, exact. Section 3.

    Float64 multiplies where every partial sum, in any order, is an integer below 2^53 and therefore exact.
    """
    a, b = _ints(a), _ints(b)
    bound = a.shape[-1] * _bound(a) * _bound(b)
    if bound < _EXACT_FLOAT:
        return (a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64)
    if bound < _WORD:
        return a @ b
    return a.astype(object) @ b.astype(object)


def linear(x: ArrayLike, weight: ArrayLike, bias: ArrayLike) -> Ints:
    """x @ weight.T + bias, weight [out, in], no rounding: |acc| <= 2^14 * in + |bias|. Section 3."""
    return matmul(x, np.swapaxes(_ints(weight), -1, -2)) + _ints(bias)


def planes(p: ArrayLike) -> tuple[Ints, Ints]:
    """Byte planes of 16-bit values: p = 256*high + low, high signed (-128..127), low unsigned (0..255)."""
    p = _ints(p)
    return p >> 8, p & 255

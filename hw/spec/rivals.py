"""The laws of rivals of I-ViT's operators, exact as those of `hw.spec.arith`: I-BERT's, FQ-ViT's and Fully-8bit's.

Sources: I-BERT, Kim et al., arXiv 2101.01321 (its exponential, softmax, GELU and LayerNorm); FQ-ViT, Lin et al.,
arXiv 2111.13824 (Log-Int-Softmax on I-BERT's exponential); Fully-8bit, Lin et al., arXiv 2009.08034 (L1 LayerNorm).
Their constants are found offline from scales: `firmware.graph.rivals`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hw.spec import arith

__all__ = [
    "CODES", "DISTANCE_LEAST", "EXP_BITS", "EXP_MOST", "EXP_TERMS", "FACTOR_EXPONENTS", "FACTOR_LEAST", "FACTOR_MOST",
    "GELU_SHIFT", "L1_NUMERATOR", "ROOT_LEAST", "TOTAL_BITS", "TOTAL_LOW", "floor_root", "int_deviation_factor",
    "int_exp", "int_exp16", "int_factor", "int_gelu", "int_layer_norm", "int_moments", "int_probability", "int_softmax",
    "l1_factor", "l1_layer_norm", "l1_moments", "log_codes", "log_exp", "log_factor", "log_probability",
    "log_softmax", "log_total", "ptf_input", "ptf_layer_norm",
]  # fmt: skip

Ints = NDArray[Any]

EXP_TERMS = 30  # n of I-BERT's exponential: what it clamps is 2^-30 of the maximum's
EXP_BITS = 16  # of an exponential once it is quantized, signed
EXP_MOST = (1 << EXP_BITS - 1) - 1
FACTOR_LEAST = 1 << 14  # a row's sum counts as that at least: its maximum alone is 2^15 - 1
FACTOR_MOST = (1 << 18) - 1  # of I-BERT's softmax
GELU_SHIFT = 14  # bits that IntGELU's polynomial loses
ROOT_LEAST = 64  # a row's root counts as that at least, as I-LayerNorm's is; so its factor has 25 bits
DISTANCE_LEAST = 512  # likewise a row's sum of distances
L1_NUMERATOR = (1 << 34) - 1
CODES = 16  # of Log-Int-Softmax: a probability is 2^-code, or 0
FACTOR_EXPONENTS = 4  # of power-of-two factors: 0 to 3
TOTAL_BITS, TOTAL_LOW = 20, 11  # of a row's sum of exponentials E, which the factor of a row holds


# I-BERT's exponential and softmax


def int_exp(m: ArrayLike, ln2: ArrayLike, b: ArrayLike, c: ArrayLike) -> tuple[Ints, Ints]:
    """(z, q) of exp(-m * scale) ~ z * 2^-q / c, for m >= 0; I-BERT's E is z << (30 - q).

    m = min(m, 30*ln2) = q*ln2 + r with 0 <= r < ln2, and z = (-r + b) * -r + c, a polynomial of second order.
    """
    m, ln2, b, c = (np.asarray(x, np.int64) for x in (m, ln2, b, c))
    m = np.minimum(m, EXP_TERMS * ln2)
    q = m // ln2
    r = m - q * ln2
    return c - r * (b - r), q


def int_exp16(
    m: ArrayLike, ln2: ArrayLike, b: ArrayLike, c: ArrayLike, exp_mult: ArrayLike, exp_shift: ArrayLike
) -> Ints:
    """The exponential in 16 bits, 0..32767: clamp(RNE(E * mult / 2^(30 + shift))), of z * mult / 2^(shift + q).

    `exp_shift` is from 0 to 31, which is 30 less than I-BERT's e of m/2^e.
    """
    z, q = int_exp(m, ln2, b, c)
    return np.maximum(arith.saturate(arith.rounded(z, exp_mult, np.asarray(exp_shift, np.int64) + q), EXP_BITS), 0)


def int_factor(total: ArrayLike) -> Ints:
    """F = floor(2^32 / sum) of a row's sum of exponentials; a row that reaches its maximum has F <= 131076."""
    total = np.maximum(np.asarray(total, np.int64), FACTOR_LEAST)
    return np.minimum((1 << 32) // total, FACTOR_MOST)


def int_probability(exp: ArrayLike, factor: ArrayLike) -> Ints:
    """P = (exp * F) >> 24, scaled by 2^8: 0..256 with the row's own factor."""
    return (np.asarray(exp, np.int64) * np.asarray(factor, np.int64)) >> 24


def int_softmax(
    x: ArrayLike, ln2: ArrayLike, b: ArrayLike, c: ArrayLike, exp_mult: ArrayLike, exp_shift: ArrayLike, *,
    fraction: ArrayLike = 0, halve: ArrayLike = 0, bits: int = 16, mask: ArrayLike | None = None,
) -> Ints:  # fmt: skip
    """I-BERT's IntSoftmax of each row (last axis): probabilities times 2^8 in 16 bits, or 8.

    In 8 bits they are clamp(RNE(P / 2^halve)), I-BERT's quantizer behind it. Differences of scores have `fraction` bits
    behind the point. What the `mask` (1) hides is not there. Constants are numbers or broadcast against x.
    """
    x = np.asarray(x, np.int64)
    hidden = np.zeros((), bool) if mask is None else np.asarray(mask) != 0
    top = np.where(hidden, np.iinfo(np.int64).min, x).max(axis=-1, keepdims=True)
    exp = np.where(hidden, 0, int_exp16(np.maximum(top - x, 0) << fraction, ln2, b, c, exp_mult, exp_shift))
    p = int_probability(exp, int_factor(exp.sum(axis=-1, keepdims=True)))
    return p if bits == 16 else arith.saturate(arith.round_shift(p, halve), 8)


# FQ-ViT's Log-Int-Softmax


def log_exp(m: ArrayLike, ln2: ArrayLike, b: ArrayLike, c: ArrayLike) -> Ints:
    """E of I-BERT's exponential, z << (30 - q): 48 bits, one more for constants that no scale has; never negative."""
    z, q = int_exp(m, ln2, b, c)
    return np.maximum(z, 0) << (EXP_TERMS - q)


def log_factor(total: ArrayLike) -> Ints:
    """A row's sum of E, up to 2^62, in 25 bits: its 20 leading bits, floored, below 5 bits of how far they are shifted.

    A row that reaches its maximum has a sum of 2^31 at least. FQ-ViT keeps all bits; to codes this makes a difference
    where total/E is within 2^-19 of the middle of two of them.
    """
    total = np.asarray(total, np.int64)
    more = sum(((total >> (TOTAL_BITS + TOTAL_LOW + k)) > 0).astype(np.int64) for k in range(31))
    return more << TOTAL_BITS | total >> (TOTAL_LOW + more)


def log_total(factor: ArrayLike) -> Ints:
    """The sum that `log_factor` has kept."""
    factor = np.asarray(factor, np.int64)
    return (factor & (1 << TOTAL_BITS) - 1) << (TOTAL_LOW + (factor >> TOTAL_BITS))


def log_codes(exp: ArrayLike, total: ArrayLike) -> Ints:
    """-log2 of exp / total, rounded as FQ-ViT does: 0..15, or 16 where the probability is 0, as where `exp` is.

    t = RNE(total / exp), l = floor(log2 t), one more where t - 2^l >= 2^(l - 1): the number of k from 1 on for which
    t >= 3 * 2^(k - 2), the first being t >= 2. Without a division, 2*total + exp >= 3*exp << (k - 1), but for k = 1
    2*total >= 3*exp, as a tie goes up to the even 2, and for k = 2 > instead of >=, as one goes from 3 down to 2.
    """
    exp, total = np.asarray(exp, np.int64), np.asarray(total, np.int64)
    t = arith.divide_round(total, np.maximum(exp, 1))
    code = (t >= 2).astype(np.int64)
    for k in range(2, CODES + 1):
        code += t >= 3 << (k - 2)
    return np.where(exp == 0, CODES, code)


def log_probability(code: ArrayLike, offset: ArrayLike, bits: int) -> Ints:
    """2^-code as an integer of `bits` bits, scaled by 2^(bits - 1 + offset): exact, but for clamping and below 1.

    An array of multipliers takes V >> code as V times that, without a shifter for every value.
    """
    code, top = np.asarray(code, np.int64), np.asarray(offset, np.int64) + bits - 1
    return np.where(code < CODES, np.minimum((1 << top) >> code, (1 << bits - 1) - 1), 0)


def log_softmax(
    x: ArrayLike, ln2: ArrayLike, b: ArrayLike, c: ArrayLike, *, fraction: ArrayLike = 0, offset: ArrayLike = 0,
    bits: int = 16, mask: ArrayLike | None = None,
) -> Ints:  # fmt: skip
    """Log-Int-Softmax of each row (last axis), as `log_probability` of its codes; hidden ones are 0."""
    x = np.asarray(x, np.int64)
    hidden = np.zeros((), bool) if mask is None else np.asarray(mask) != 0
    top = np.where(hidden, np.iinfo(np.int64).min, x).max(axis=-1, keepdims=True)
    exp = log_exp(np.maximum(top - x, 0) << fraction, ln2, b, c)
    total = log_total(log_factor(np.where(hidden, 0, exp).sum(axis=-1, keepdims=True)))
    return np.where(hidden, 0, log_probability(log_codes(exp, total), offset, bits))


# I-BERT's GELU


def int_gelu(x: ArrayLike, b: ArrayLike, c: ArrayLike) -> Ints:
    """Minus IntGELU of int16: -x * (y + s), y = sign(x) * ((a - b)^2 - c) >> 14 with a = min(|x|, b), s = -c >> 14.

    b and c are the magnitudes of I-BERT's negative constants, b up to 2^15 - 1 and c up to 2^31 - 1. I-BERT's scale
    behind it is negative, which no requantizer but a norm's has: here it is positive. 35 bits.
    """
    x, b, c = (np.asarray(value, np.int64) for value in (x, b, c))
    a = np.minimum(np.abs(x), b)
    y = (np.sign(x) * (np.square(a - b) - c)) >> GELU_SHIFT
    return -x * (y + (-c >> GELU_SHIFT))


# LayerNorms


def floor_root(v: ArrayLike) -> Ints:
    """floor(sqrt(v)) for 0 <= v < 2^52, digit by digit."""
    v = np.asarray(v, np.int64)
    root = np.zeros_like(v)
    for bit in reversed(range(26)):
        trial = root | 1 << bit
        root = np.where(trial * trial <= v, trial, root)
    return root


def _centred(x: ArrayLike) -> tuple[Ints, Ints]:
    x = np.asarray(x, np.int64)
    mean = arith.divide_round(x.sum(axis=-1), x.shape[-1])
    return mean, x - mean[..., None]


def int_deviation_factor(y: Ints, shift: ArrayLike) -> Ints:
    """I-BERT's factor of centred rows: F = min(floor(2^31 / std), 2^25 - 1), std = floor(sqrt(sum (y >> s)^2)) << s.

    A std below 64 counts as that; I-BERT divides by zero at zero.
    """
    std = floor_root(np.square(y >> shift).sum(axis=-1)) << np.asarray(shift, np.int64)
    return np.minimum((1 << 31) // np.maximum(std, ROOT_LEAST), (1 << 25) - 1)


def int_moments(x: ArrayLike, shift: ArrayLike = 0) -> tuple[Ints, Ints]:
    """(mean, F) of each row (last axis) of I-BERT's IntLayerNorm, `shift` as learned, 0 to 7; the mean is rounded."""
    mean, y = _centred(x)
    return mean, int_deviation_factor(y, shift)


def int_layer_norm(x: ArrayLike, bias: ArrayLike, shift: ArrayLike = 0) -> Ints:
    """I-BERT's IntLayerNorm of each row (last axis) plus an integer bias per channel; scaled as I-LayerNorm's."""
    mean, factor = int_moments(x, shift)
    return arith.normalize(x, mean[..., None], factor[..., None], bias)


def l1_factor(y: Ints) -> Ints:
    """F = floor((2^34 - 1) / A) of centred rows, A = sum |y|, which counts as 512 at least: F has 25 bits.

    A is about sqrt(C) times I-LayerNorm's root, so that with its numerator a row of distances of 2^14 would have few
    bits of F. |y| is at most A/2 and the half that the mean's rounding adds to C/2: (|y| * F) >> 1 has 33 bits.
    """
    return L1_NUMERATOR // np.maximum(np.abs(y).sum(axis=-1), DISTANCE_LEAST)


def l1_moments(x: ArrayLike) -> tuple[Ints, Ints]:
    """(mean, F) of each row (last axis) of the L1 LayerNorm, whose deviation is the mean distance. Widths are ours."""
    mean, y = _centred(x)
    return mean, l1_factor(y)


def l1_layer_norm(x: ArrayLike, bias: ArrayLike) -> Ints:
    """L1 LayerNorm of each row (last axis) plus an integer bias per channel: 2^33 * y / A, 35 bits."""
    mean, factor = l1_moments(x)
    return arith.normalize(x, mean[..., None], factor[..., None], bias)


def ptf_input(x: ArrayLike, exponents: ArrayLike, shift: ArrayLike = 0) -> Ints:
    """x in 8 bits with FQ-ViT's power-of-two factors 2^a: q << a, q = clamp(RNE(x / 2^(shift + a))). 11 bits."""
    exponents = np.asarray(exponents, np.int64)
    return arith.saturate(arith.round_shift(x, exponents + shift), 8) << exponents


def ptf_layer_norm(x: ArrayLike, exponents: ArrayLike, bias: ArrayLike) -> Ints:
    """LayerNorm of int8 with FQ-ViT's power-of-two factors: I-LayerNorm of x << exponents, 0 to 3 of each channel.

    FQ-ViT's sums are of these integers, too, but its gain of a row is a float and its gain of a channel has 8 bits.
    """
    return arith.layer_norm(np.asarray(x, np.int64) << np.asarray(exponents, np.int64), bias)

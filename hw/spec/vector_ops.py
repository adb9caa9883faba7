"""The VECTOR opcodes of this machine: operands, laws on arrays, and what the engine needs to know of each.

The laws say what the device does with every legal instruction, also where those of `hw.spec.arith` do not apply: for
rows without an element at their maximum, statistics of other rows, operands that saturate. Where they do apply, as in
every compiled program, both are the same.
"""

from __future__ import annotations

import numpy as np

from hw.spec import arith, rivals
from hw.spec.opcodes import Field
from hw.spec.vector import DEST, PLANES, SHAPE, SOURCE, Array, Given, Outcome, Second, VectorOp, register, result_bits

__all__ = ["ADDEND_BITS", "FACTOR_BITS", "NORMALIZED_BITS", "UNITS"]

FACTOR_BITS = 16  # of Shiftmax; see `_shiftmax_sum`
NORMALIZED_BITS = 35  # of LAYER_NORM before it is requantized; exact with the row's own statistics
ADDEND_BITS = 27  # what a requantized operand of an addition saturates to
_SUM_BITS = 13  # of 23 * (row_max - x) in ShiftExp: 16 * -p, at most 5873 for x - row_max from -255 to 0

_ROW_MAX = (Field("row_max", 4, "row-maximum bank", limit="row_max_banks"),)
_STATS = (Field("stats", 4, "row-statistics bank", limit="stat_banks"),)
_OWN_MAX = (Field("own_max", 1, "row maxima are those of the statistics bank (ADD_MAX), not of row_max"),)
_I0 = (Field("i0", 10, "I0 of ShiftExp: ceil(1/scale), 1..1023", nonzero=True),)
_FRACTION = (Field("fraction", 3, "fraction bits f of x - row_max, which is shifted left by them"),)
_DYADIC = (
    Field("mult", 32, "mantissa m, 0..2^31"),
    Field("shift", 6, "exponent e of m/2^e"),
)
_IDENTITY = (
    Field("identity", 16, "scratchpad word of row 0 of the identity operand", slot="other"),
    Field("identity_row", 12, "words from one identity row to the next", slot="other_row"),
    Field("mult_identity", 32, "mantissa of the identity operand", slot="mult_other"),
    Field("shift_identity", 6, "exponent of the identity operand", slot="shift_other"),
)
_WIDE_SOURCE = (Field("wide_source", 1, "1: int16 elements; 0: int8"),)
_WIDE_IDENTITY = (Field("wide_identity", 1, "1: int16 elements; 0: int8", slot="wide_other"),)
_WIDE_DEST = (Field("wide_dest", 1, "1: int16 results; 0: int8"),)


def _exp(g: Given, m: Array, terms: int) -> Array:
    """ShiftExp of -m << fraction, m = row_max - x.

    -p is (t << f) >> 4, t = 23*m + 8*(m & 1), or 23*m where f > 0: the same as `arith.shift_exp_parts` has, as the
    remainders of its floors are those of the sum. t is modulo 2^13, which for x beyond the maximum is its meaning.
    """
    i0, fraction = g.operands["i0"], g.operands.get("fraction", 0)
    t = 23 * m + (0 if fraction else 8 * (m & 1)) & ((1 << _SUM_BITS) - 1)
    n = (t << fraction) >> 4
    q = np.minimum(n // i0, terms)
    mantissa = 2 * i0 - np.where(q == terms, 0, n - q * i0)
    return (mantissa << (terms - q)) >> 1


def _shiftmax_sum(g: Given) -> Outcome:
    """The factor saturates. A row with an element at its maximum has S >= I0 * 2^15, so F < 2^16 without that."""
    assert g.row_max is not None
    exp = _exp(g, g.row_max - g.x, arith.SOFTMAX_TERMS)
    total = np.minimum(exp.sum(axis=1) + g.operands["start"], arith.INT32_MAX)
    return Outcome(factor=np.minimum(arith.reciprocal(total), (1 << FACTOR_BITS) - 1))


def _shiftmax(g: Given) -> Outcome:
    """The machine writes P modulo 2^8 or 2^16; with the row's own factor P fits."""
    assert g.factor is not None
    assert g.row_max is not None
    factor = g.factor & ((1 << FACTOR_BITS) - 1)
    return Outcome(results=(_exp(g, g.row_max - g.x, arith.SOFTMAX_TERMS) * factor) >> 32 - result_bits(g.operands))


def _moments(g: Given) -> Outcome:
    mean, factor = arith.moments(g.x)
    return Outcome(mean=mean, factor=factor)


def _layer_norm(g: Given) -> Outcome:
    assert g.parameters is not None
    assert g.mean is not None
    assert g.factor is not None
    bias, mult, shift = g.parameters
    z = arith.wrap(arith.normalize(g.x, g.mean, g.factor, bias), NORMALIZED_BITS)
    return Outcome(results=arith.requantize(z, mult, shift, result_bits(g.operands)))


def _shift_gelu(g: Given) -> Outcome:
    """x beyond the maximum is as far from it modulo 2^8."""
    assert g.row_max is not None
    exp, o = _exp(g, g.row_max - g.x & 255, arith.GELU_TERMS), g.operands
    total = np.minimum(exp + arith.gelu_max_exp(g.row_max, o["i0"]), arith.INT32_MAX)
    sigma = (exp * arith.reciprocal(total)) >> 24
    return Outcome(results=arith.requantize(g.x * sigma, o["mult"], o["shift"], result_bits(o)))


def _add(g: Given) -> Outcome:
    """Each operand saturates after its rounding, their sum once more. Without the first, `arith.requantize`."""
    assert g.identity is not None
    o = g.operands
    branch = arith.saturate(arith.rounded(g.x, o["mult"], o["shift"]), ADDEND_BITS)
    identity = arith.saturate(arith.rounded(g.identity, o["mult_identity"], o["shift_identity"]), ADDEND_BITS)
    return Outcome(results=arith.saturate(branch + identity, result_bits(o)))


def _add_max(g: Given) -> Outcome:
    results = _add(g).results
    assert results is not None
    return Outcome(results=results, mean=results.max(axis=1))


def _table(g: Given) -> Outcome:
    """The machine writes the low byte of an entry where results are int8."""
    assert g.entries is not None
    return Outcome(results=arith.wrap(arith.table(g.x, g.entries), result_bits(g.operands)))


_START = Field(
    "start", 22, "what the sum of each row begins with: I0 for every element that is masked", slot="mult"
)  # fmt: skip

register(VectorOp(
    number=16, name="SHIFTMAX_SUM", unit="shiftmax", law=_shiftmax_sum, writes=("factor",), row_cycles=18, overhead=33,
    operands=(*SOURCE, *SHAPE, *_I0, *_ROW_MAX, *_STATS, *_OWN_MAX, _START, *_FRACTION),
    doc="Factor F = min(floor((2^31-1) / min(start + the sum of E, 2^31-1)), 65535) of each row, E as in ShiftExp with "
        "n = 15 and -p = (t << fraction) >> 4, where t is 23 * (row_max - x), 8 more if that is odd and fraction 0, "
        "modulo 2^13. Where an element is at the maximum and none is above it, F < 2^16 without the minimum.",
))  # fmt: skip
register(VectorOp(
    number=17, name="SHIFTMAX", unit="shiftmax", law=_shiftmax, reads=("factor",), padded=True, overhead=21,
    operands=(*SOURCE, *DEST, *SHAPE, *PLANES, *_I0, *_ROW_MAX, *_STATS, *_OWN_MAX, *_FRACTION),
    doc="Results P = (E*F) >> 16 modulo 2^16 with planes, else (E*F) >> 24 modulo 2^8, E as in SHIFTMAX_SUM, F the low "
        "16 bits of the row's factor. The rest of a row's last word is written with zeros.",
))  # fmt: skip
register(VectorOp(
    number=18, name="MOMENTS", unit="layer_norm", law=_moments, writes=("mean", "factor"), row_cycles=62, overhead=170,
    shared=("ptf_layer_norm",), operands=(*SOURCE, *SHAPE, *_STATS, *_WIDE_SOURCE),
    doc="Mean and factor of I-LayerNorm of each row.",
))  # fmt: skip
register(VectorOp(
    number=19, name="LAYER_NORM", unit="layer_norm", law=_layer_norm, reads=("mean", "factor"), grouped=True,
    second=Second.PARAMETERS, requantized=True, overhead=49,
    shared=("l1_layer_norm", "int_layer_norm", "ptf_layer_norm"),
    operands=(
        *SOURCE, *DEST, *SHAPE, *PLANES, *_STATS, *_WIDE_SOURCE, *_WIDE_DEST,
        Field("params", 16, "scratchpad word of the first channel's norm parameters", slot="other"),
    ),
    doc="With z = (((x - mean) * factor) >> 1) + bias modulo 2^35, signed: results clamp(RNE(z * mult / 2^shift)). Of "
        "a channel's parameters, bias is the low 34 bits of bytes 0-4, mult the low 33 bits of bytes 5-9, both signed, "
        "shift the low 6 bits of byte 10; nothing else is looked at.",
))  # fmt: skip
register(VectorOp(
    number=20, name="SHIFT_GELU", unit="shift_gelu", law=_shift_gelu, requantized=True, row_cycles=256,
    overhead=380, operands=(*SOURCE, *DEST, *SHAPE, *PLANES, *_I0, *_ROW_MAX, *_DYADIC),
    doc="Results clamp(RNE(x * sigma * mult / 2^shift)), sigma of ShiftGELU with n = 23, -p as in SHIFTMAX_SUM "
        "without fraction bits, but of row_max - x modulo 2^8.",
))  # fmt: skip
register(VectorOp(
    number=21, name="ADD", unit="add", law=_add, second=Second.IDENTITY, requantized=True, adds=True,
    overhead=29,
    operands=(*SOURCE, *DEST, *SHAPE, *_DYADIC, *_IDENTITY, *_WIDE_SOURCE, *_WIDE_IDENTITY, *_WIDE_DEST),
    doc="Results clamp(a + b), a = RNE(x * mult / 2^shift) and b, of the identity operand, saturated to 27 bits. "
        "Its operands leave no bits for planes.",
))  # fmt: skip
register(VectorOp(  # operands where ADD has them: fewer gates
    number=22, name="ADD_MAX", unit="add", law=_add_max, second=Second.IDENTITY, requantized=True,
    adds=True, writes=("mean",), overhead=29, operands=(*SOURCE, *DEST, *SHAPE, *_DYADIC, *_IDENTITY, *_STATS),
    doc="As ADD, int8 throughout; mean of each row becomes its largest result.",
))  # fmt: skip
register(VectorOp(
    number=23, name="TABLE", unit="table", law=_table, second=Second.TABLE, overhead=265,
    operands=(
        *SOURCE, *DEST, *SHAPE, *PLANES, *_WIDE_DEST,
        Field("params", 16, "scratchpad word of the table: 256 int16 entries, that of x = -128 first", slot="other"),
    ),
    doc="Results entry x + 128 of the table for int8 x, its low byte where they are int8. The table is read before the "
        "first element.",
))  # fmt: skip

UNITS = ("shiftmax", "layer_norm", "shift_gelu", "add", "table")
"""The units that a Config builds unless it says otherwise."""


# Rivals of these operators: laws in `hw.spec.rivals`, built where Config.vector lists them

_EXPONENT = (
    Field("ln2", 8, "floor(ln 2 / scale), 1..255", nonzero=True, slot="i0"),
    Field("b", 10, "b of the polynomial (x + b) * x + c", slot="other"),
    Field("c", 18, "c of the polynomial", slot="mult"),
)
_EXP16 = (
    Field("exp_mult", 31, "mantissa m of the exponential's 16 bits", slot="mult_other"),
    Field("exp_shift", 5, "exponent e of m/2^e, less 30", slot="shift_other"),
)
_DIFFERENCE_BITS = 9  # of row_max - x


def _differences(g: Given) -> Array:
    """row_max - x, modulo 2^9 for x beyond the maximum, with its fraction bits."""
    assert g.row_max is not None
    return (g.row_max - g.x & (1 << _DIFFERENCE_BITS) - 1) << g.operands["fraction"]


def _exp16(g: Given) -> Array:
    o = g.operands
    return rivals.int_exp16(_differences(g), o["ln2"], o["b"], o["c"], o["exp_mult"], o["exp_shift"])


def _int_softmax_sum(g: Given) -> Outcome:
    return Outcome(factor=rivals.int_factor(_exp16(g).sum(axis=1)))


def _int_softmax(g: Given) -> Outcome:
    """With another row's factor the machine reads its low 18 bits; P has 9 bits then."""
    assert g.factor is not None
    p = rivals.int_probability(_exp16(g), g.factor & rivals.FACTOR_MOST)
    if not g.operands["planes"]:
        p = arith.saturate(arith.round_shift(p, g.operands["halve"]), 8)
    return Outcome(results=p)


def _int_gelu(g: Given) -> Outcome:
    o = g.operands
    return Outcome(
        results=arith.requantize(rivals.int_gelu(g.x, o["b"], o["c"]), o["mult"], o["shift"], result_bits(o))
    )


def _row_mean(g: Given) -> Outcome:
    return Outcome(mean=arith.divide_round(g.x.sum(axis=1), g.x.shape[1]))


def _l1_deviation(g: Given) -> Outcome:
    assert g.mean is not None
    return Outcome(factor=rivals.l1_factor(g.x - g.mean))


def _int_deviation(g: Given) -> Outcome:
    assert g.mean is not None
    return Outcome(factor=rivals.int_deviation_factor(g.x - g.mean, g.operands["norm_shift"]))


register(VectorOp(
    number=9, name="ROW_MEAN", unit="l1_layer_norm", shared=("int_layer_norm",), law=_row_mean, writes=("mean",),
    row_cycles=18, overhead=40, operands=(*SOURCE, *SHAPE, *_STATS, *_WIDE_SOURCE),
    doc="Mean of each row, RNE(sum / length).",
))  # fmt: skip
register(VectorOp(
    number=10, name="L1_DEVIATION", unit="l1_layer_norm", law=_l1_deviation, reads=("mean",), writes=("factor",),
    row_cycles=27, overhead=50, operands=(*SOURCE, *SHAPE, *_STATS, *_WIDE_SOURCE),
    doc="Factor F = floor((2^34-1) / max(A, 512)) of each row, A the sum of |x - mean|, of Fully-8bit's L1 LayerNorm.",
))  # fmt: skip
register(VectorOp(
    number=11, name="INT_DEVIATION", unit="int_layer_norm", law=_int_deviation, reads=("mean",), writes=("factor",),
    row_cycles=27, overhead=74,
    operands=(
        *SOURCE, *SHAPE, *_STATS, *_WIDE_SOURCE,
        Field("norm_shift", 3, "bits s that differences lose", slot="fraction"),
    ),
    doc="Factor F = min(floor(2^31 / max(std, 64)), 2^25-1) of each row, of I-BERT's LayerNorm: "
        "std = floor(sqrt(sum ((x - mean) >> s)^2)) << s.",
))  # fmt: skip
register(VectorOp(
    number=12, name="INT_SOFTMAX_SUM", unit="int_softmax", law=_int_softmax_sum, writes=("factor",), row_cycles=20,
    overhead=56, operands=(*SOURCE, *SHAPE, *_ROW_MAX, *_STATS, *_OWN_MAX, *_FRACTION, *_EXPONENT, *_EXP16),
    doc="Factor F = min(floor(2^32 / max(S, 2^14)), 2^18-1) of each row, S the sum of its exponentials by I-BERT: with "
        "m = (row_max - x modulo 2^9) << fraction, at most 30*ln2, q = floor(m / ln2), r = m - q*ln2 and "
        "z = c - r*(b - r), each is RNE(z * exp_mult / 2^(exp_shift + q)), clamped to 0..32767.",
))  # fmt: skip
register(VectorOp(
    number=13, name="INT_SOFTMAX", unit="int_softmax", law=_int_softmax, reads=("factor",), padded=True, overhead=44,
    operands=(
        *SOURCE, *DEST, *SHAPE, *PLANES, *_ROW_MAX, *_STATS, *_OWN_MAX, *_FRACTION, *_EXPONENT, *_EXP16,
        Field("halve", 1, "bits that int8 results lose, rounded to even"),
    ),
    doc="Results P = (E*F) >> 24, E as in INT_SOFTMAX_SUM and F the low 18 bits of the row's factor, or clamp(RNE(P / "
        "2^halve)) without planes. The rest of a row's last word is written with zeros.",
))  # fmt: skip
register(VectorOp(
    number=14, name="INT_GELU", unit="int_gelu", law=_int_gelu, requantized=True, overhead=50,
    operands=(
        *SOURCE, *DEST, *SHAPE, *PLANES, *_DYADIC, *_WIDE_SOURCE,
        Field("b", 15, "magnitude of I-BERT's b", slot="other"),
        Field("c", 31, "magnitude of I-BERT's c", slot="mult_other"),
    ),
    doc="Results clamp(RNE(-x * (y + s) * mult / 2^shift)), y = sign(x) * ((min(|x|, b) - b)^2 - c) >> 14 and "
        "s = -c >> 14, of I-BERT's GELU.",
))  # fmt: skip


def _power_factors(g: Given) -> Outcome:
    """Exponents are the low bits of biases, whatever these are."""
    assert g.parameters is not None
    bias, mult, shift = g.parameters
    x = rivals.ptf_input(g.x, bias & rivals.FACTOR_EXPONENTS - 1, g.operands["norm_shift"])
    return Outcome(results=arith.requantize(x, mult, shift, result_bits(g.operands)))


register(VectorOp(
    number=25, name="POWER_FACTORS", unit="ptf_layer_norm", law=_power_factors, grouped=True, second=Second.PARAMETERS,
    requantized=True, overhead=49,
    operands=(
        *SOURCE, *DEST, *SHAPE, *_WIDE_SOURCE, *_WIDE_DEST,
        Field("norm_shift", 3, "bits s that the finest code loses", slot="fraction"),
        Field("params", 16, "scratchpad word of the first channel's parameters", slot="other"),
    ),
    doc="With q = clamp(RNE(x / 2^(s + a))) of 8 bits, a the low 2 bits of the channel's bias: results "
        "clamp(RNE((q << a) * mult / 2^shift)), of FQ-ViT's power-of-two factors. Parameters are those of LAYER_NORM.",
))  # fmt: skip


def _log_exp(g: Given) -> Array:
    o = g.operands
    return rivals.log_exp(_differences(g), o["ln2"], o["b"], o["c"])


def _log_softmax_sum(g: Given) -> Outcome:
    return Outcome(factor=rivals.log_factor(_log_exp(g).sum(axis=1)))


def _log_softmax(g: Given) -> Outcome:
    assert g.factor is not None
    codes = rivals.log_codes(_log_exp(g), rivals.log_total(g.factor))
    return Outcome(results=rivals.log_probability(codes, g.operands["offset"], result_bits(g.operands)))


register(VectorOp(
    number=15, name="LOG_SOFTMAX_SUM", unit="log_int_softmax", law=_log_softmax_sum, writes=("factor",), row_cycles=33,
    overhead=60, operands=(*SOURCE, *SHAPE, *_ROW_MAX, *_STATS, *_OWN_MAX, *_FRACTION, *_EXPONENT),
    doc="Sum S of each row of E = max(z, 0) << (30 - q), z and q as in INT_SOFTMAX_SUM, as a factor: its 20 leading "
        "bits from bit 11 up on, above them how many further bits were dropped.",
))  # fmt: skip
register(VectorOp(
    number=29, name="LOG_SOFTMAX", unit="log_int_softmax", law=_log_softmax, reads=("factor",), padded=True,
    overhead=40,
    operands=(
        *SOURCE, *DEST, *SHAPE, *PLANES, *_ROW_MAX, *_STATS, *_OWN_MAX, *_FRACTION, *_EXPONENT,
        Field("offset", 4, "binary places that results are scaled up by"),
    ),
    doc="Results 2^-code of FQ-ViT's Log-Int-Softmax, scaled by 2^(15 + offset) with planes, else 2^(7 + offset), "
        "clamped, with t = RNE(S / E): 0 where t >= 3 * 2^14 or E is 0, else code is 0 for t < 2, 1 for t = 2, and the "
        "largest k with t >= 3 * 2^(k - 2) beyond. The rest of a row's last word is written with zeros.",
))  # fmt: skip

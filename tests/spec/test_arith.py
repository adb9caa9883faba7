"""The laws against the official modules' exact outputs, and against scalar Python written from the definitions."""

import math
import random
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from hw.spec import arith
from sim.deviation import LAWS

UNITS = sorted((Path(__file__).parents[1] / "data" / "units").glob("*.npz"))


def test_every_law_has_vectors():
    assert {path.stem.split("_")[0] for path in UNITS} == set(LAWS)


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_official_vectors(path):
    with np.load(path) as vectors:
        v = dict(vectors)
    out = LAWS[path.name.split("_")[0]](v)
    assert out.shape == v["out"].shape
    np.testing.assert_array_equal(out, v["out"])


# --- rounding ---


def rne(value):
    """round() of a Fraction is half to even."""
    return round(Fraction(value))


def clamp(value, bits):
    return max(-(1 << bits - 1), min((1 << bits - 1) - 1, value))


def test_round_shift_exhaustive():
    x = np.arange(-1025, 1026)
    for s in range(12):
        expected = [rne(Fraction(int(value), 1 << s)) for value in x]
        assert arith.round_shift(x, s).tolist() == expected
    assert arith.round_shift(x[:, None], np.arange(12)).T.ravel().tolist() == [
        rne(Fraction(int(value), 1 << s)) for s in range(12) for value in x
    ]


def test_round_shift_at_the_word_limit():
    for x in (-(1 << 63), -(1 << 63) + 1, (1 << 63) - 1, 1 << 62, -(1 << 62), 3 << 61, (1 << 62) + 1, 0, -1):
        for s in range(64):
            assert int(arith.round_shift(x, s)) == rne(Fraction(x, 1 << s)), (x, s)


def test_divide_round_exhaustive():
    a = np.arange(-300, 301)
    for b in range(1, 70):
        assert arith.divide_round(a, b).tolist() == [rne(Fraction(int(value), b)) for value in a]


@pytest.mark.parametrize("bits", [2, 8, 16, 32])
def test_saturate_corners(bits):
    limit = 1 << (bits - 1)
    x = np.array([-limit - 1, -limit, -limit + 1, -1, 0, limit - 2, limit - 1, limit, 1 << 40, -(1 << 40)])
    assert arith.saturate(x, bits).tolist() == [clamp(int(value), bits) for value in x]


def test_wrap():
    x = np.array([0, (1 << 31) - 1, 1 << 31, -(1 << 31), -(1 << 31) - 1, 5 << 32, -1])
    assert arith.wrap(x).tolist() == [0, (1 << 31) - 1, -(1 << 31), -(1 << 31), (1 << 31) - 1, 0, -1]


def test_rounded_takes_every_path_exactly():
    """One word, split halves and Python integers: same law, ties included."""
    rng = random.Random(1)
    for width, width_m, least in ((8, 8, 0), (20, 31, 0), (34, 33, 17), (34, 33, 0), (45, 31, 17), (60, 40, 0)):
        z = [rng.getrandbits(width) - (1 << (width - 1)) for _ in range(40)] + [(1 << (width - 1)) - 1, 1 << 7, -3 << 4]
        m = [rng.getrandbits(width_m) - (1 << (width_m - 1)) for _ in z[:-2]] + [1 << (width_m - 2), 1 << 5]
        e = [rng.randint(least, 63) for _ in z[:-2]] + [least + 6, least + 8]
        expected = [rne(Fraction(a * b, 1 << c)) for a, b, c in zip(z, m, e, strict=True)]
        got = arith.rounded(np.array(z), np.array(m), np.array(e))
        assert [int(value) for value in got] == expected


def test_rounded_ties_of_split_products():
    """Products of 66 bits whose dropped part is exactly half, one more and one less than half."""
    z = [(1 << 33) - 1, -(1 << 33), (1 << 33) - 2, (1 << 33) - 1]
    m = [1 << 32, (1 << 32) - 1, 3 << 30, -(1 << 32) + 2]
    for e in range(17, 64):
        expected = [rne(Fraction(a * b, 1 << e)) for a, b in zip(z, m, strict=True)]
        assert arith.rounded(z, m, e).tolist() == expected


def test_requantize_rounds_twice_and_clamps_once():
    rng = random.Random(2)
    for bits in (8, 16):
        z = [rng.randint(-(1 << 26), 1 << 26) for _ in range(300)]
        y = [rng.randint(-(1 << 15), (1 << 15) - 1) for _ in z]
        for _ in range(10):
            m, m1 = rng.randint(1 << 30, 1 << 31), rng.randint(1 << 30, 1 << 31)
            e, e1 = rng.randint(30, 50), rng.randint(25, 33)
            expected = [
                clamp(rne(Fraction(a * m, 1 << e)) + rne(Fraction(b * m1, 1 << e1)), bits)
                for a, b in zip(z, y, strict=True)
            ]
            got = arith.requantize(z, m, e, bits, identity=y, mult_identity=m1, shift_identity=e1)
            assert got.tolist() == expected
    assert arith.requantize(1, 1, 1, 8, identity=1, mult_identity=1, shift_identity=1) == 0  # 0.5 + 0.5, each to even
    assert arith.requantize(127, 2, 0, 8, identity=-127, mult_identity=1, shift_identity=0) == 127  # 254 - 127
    with pytest.raises(TypeError, match="mult_identity"):
        arith.requantize(1, 1, 1, 8, identity=1)


def test_floats_are_refused():
    with pytest.raises(TypeError, match="float64"):
        arith.round_shift(1.5, 1)


# --- exponentials ---


def scalar_exp(d, i0, terms):
    """E by its definition: floor((r/2 + i0) * 2^(terms - q)) with p = q*(-i0) + r."""
    p = max(d + math.floor(Fraction(d, 2)) - math.floor(Fraction(d, 16)), -terms * i0)
    q = math.floor(Fraction(-p, i0))
    r = p + q * i0
    return math.floor((Fraction(r, 2) + i0) * Fraction(2) ** (terms - q))


@pytest.mark.parametrize("terms", [15, 23])
@pytest.mark.parametrize("i0", [1, 2, 3, 7, 16, 23, 64, 255, 256, 1023])
def test_shift_exp_exhaustive(i0, terms):
    d = np.arange(-255, 1)
    exp = arith.shift_exp(d, i0, terms)
    assert exp.tolist() == [scalar_exp(int(value), i0, terms) for value in d]
    assert exp.min() >= i0
    assert exp.max() == i0 << terms
    mantissa, q = arith.shift_exp_parts(d, i0, terms)
    assert q.min() == 0
    assert q.max() <= terms
    assert ((mantissa > i0) & (mantissa <= 2 * i0)).all()


def test_gelu_max_exp_exhaustive():
    row_max = np.arange(-128, 128)
    for i0 in [*range(1, 40), 100, 255, 256, 511, 1023]:
        expected = [min(scalar_exp(-int(value), i0, 23), (1 << 31) - 1) for value in row_max]
        assert arith.gelu_max_exp(row_max, i0).tolist() == expected


def test_shift_exp_of_positive_arguments_is_exact():
    assert [int(value) for value in arith.shift_exp([128, 100, 5], 1, 23)] == [
        scalar_exp(d, 1, 23) for d in (128, 100, 5)
    ]


def scalar_shiftmax(row, i0, bits):
    exps = [scalar_exp(x - max(row), i0, 15) for x in row]
    factor = (2**31 - 1) // min(sum(exps), 2**31 - 1)
    return factor, [exp * factor >> 32 - bits for exp in exps]


@pytest.mark.parametrize("bits", [16, 8])
def test_shiftmax(bits):
    rng = np.random.default_rng(3)
    for i0 in (1, 16, 23, 333, 1023):
        for n in (1, 5, 197):
            x = rng.integers(-128, 128, (3, n))
            x[0] = 127
            x[1] = np.where(np.arange(n) == n // 2, 127, -128)
            expected = [scalar_shiftmax(row, i0, bits) for row in x.tolist()]
            assert arith.shiftmax(x, i0, bits).tolist() == [probabilities for _, probabilities in expected]
            assert arith.shiftmax_sum(x, x.max(-1), i0).tolist() == [factor for factor, _ in expected]
            if n * i0 < 65536:  # else the clamped sum lets rows exceed one
                assert arith.shiftmax(x, i0, bits).sum(-1).max() < 1 << (bits - 1)


@pytest.mark.parametrize("bits", [16, 8])
def test_shiftmax_with_fraction_bits(bits):
    """d << f: against Python's integers, one factor a head; and how close scales from 0.001 to 60 come to softmax."""
    rng = np.random.default_rng(5)
    x = rng.integers(-128, 128, (2, 3, 4, 33))
    i0, fraction = np.array([3, 100, 1023]), np.array([0, 3, 7])
    out = arith.shiftmax(x, i0[:, None, None], bits, fraction=fraction[:, None, None])
    for b, h, n in np.ndindex(2, 3, 4):
        exps = [scalar_exp(int(value - x[b, h, n].max()) << int(fraction[h]), int(i0[h]), 15) for value in x[b, h, n]]
        factor = (2**31 - 1) // min(sum(exps), 2**31 - 1)
        assert out[b, h, n].tolist() == [exp * factor >> 32 - bits for exp in exps]
    for scale in (0.001, 0.03, 0.9, 2.6, 60.0):
        f = next(f for f in range(8) if f == 7 or 2**f / scale >= 32)
        i0 = -int(-(2**f) // scale)
        real = x * (2**f / i0)  # the scale that I0 stands for
        wanted = np.exp(real - real.max(-1, keepdims=True))
        wanted /= wanted.sum(-1, keepdims=True)
        found = arith.shiftmax(x, i0, 16, fraction=f) / 2.0**15
        assert np.abs(found - wanted).max() < 0.03, scale


def test_table():
    entries = np.random.default_rng(6).integers(-(1 << 15), 1 << 15, 256)
    x = np.arange(-128, 128).reshape(2, 128)
    np.testing.assert_array_equal(arith.table(x, entries).ravel(), entries)


@pytest.mark.parametrize("bits", [16, 8])
def test_masked_shiftmax(bits):
    """Masked scores leave the maximum, count I0 each in the sum, and have no probability; whatever they are."""
    rng = np.random.default_rng(4)
    for i0 in (3, 20, 31, 500):
        x = rng.integers(-128, 128, (6, 2, 49))
        mask = rng.integers(0, 2, (6, 1, 49))
        mask[..., 7] = 0
        mask[0] = 0
        x[1:, :, 0], mask[1:, :, 0] = 127, 1  # the largest score of the row is masked
        out = arith.shiftmax(x, i0, bits, mask=mask)
        for index in np.ndindex(6, 2):
            row, hidden, found = x[index].tolist(), mask[index[0], 0], out[index]
            top = max(row[n] for n in range(49) if not hidden[n])
            exps = [i0 if hidden[n] else scalar_exp(row[n] - top, i0, 15) for n in range(49)]
            factor = (2**31 - 1) // min(sum(exps), 2**31 - 1)
            assert found.tolist() == [exp * factor >> 32 - bits for exp in exps]
            assert not found[hidden == 1].any()
        np.testing.assert_array_equal(out[0], arith.shiftmax(x[0], i0, bits))


def scalar_sigma(x, row_max, i0):
    exp, exp_max = scalar_exp(x - row_max, i0, 23), scalar_exp(-row_max, i0, 23)
    return exp * ((2**31 - 1) // min(exp + min(exp_max, 2**31 - 1), 2**31 - 1)) >> 24


@pytest.mark.parametrize("i0", [1, 13, 20, 128, 255, 256, 1023])
def test_gelu_sigma(i0):
    for row_max in (-128, -77, -1, 0, 1, 50, 127):
        x = np.arange(-128, row_max + 1)
        sigma = arith.gelu_sigma(x, row_max, i0)
        assert sigma.tolist() == [scalar_sigma(int(value), row_max, i0) for value in x]
        assert sigma.max() <= (127 if i0 <= 255 else i0 // 2)
        np.testing.assert_array_equal(arith.shift_gelu(x, i0), x * sigma)


def test_gelu_gate_is_as_coarse_as_published():
    """sigma far above zero, in 128ths, by I0."""
    gates = {16: 120, 20: 120, 29: 116, 32: 112, 43: 107, 52: 104, 64: 96, 128: 64}
    assert {i0: int(arith.gelu_sigma(127, 127, i0)) for i0 in gates} == gates


# --- I-LayerNorm ---


def scalar_root(v):
    k = 65536
    for _ in range(10):
        k = (k + v // k) >> 1
    return k


def test_norm_root_corners():
    """Not converged below sqrt(V) = 186, floor(sqrt(V)) or one more from there on; exactly ten steps."""
    assert arith.norm_root([0, 1, 25, 100, 400, 40 * 40, 200 * 200]).tolist() == [64, 64, 64, 64, 65, 71, 200]
    for root in range(200):
        for value in (root * root, root * root + root, root * root + 2 * root):
            assert arith.norm_root(value) == scalar_root(value)
    roots = np.arange(186, 3000)
    for v in (roots * roots, roots * roots + roots, (roots + 1) ** 2 - 1):
        assert np.isin(arith.norm_root(v) - roots, (0, 1)).all()
    last = arith.norm_root((roots + 1) ** 2 - 1) - roots
    assert set(last.tolist()) == {0, 1}
    assert (arith.norm_root(np.arange(186 * 186)) >= 64).all()


def test_norm_root_against_scalars():
    rng = random.Random(4)
    v = [rng.getrandbits(rng.randint(1, 43)) for _ in range(3000)] + [0, (1 << 42) - 1, (1 << 43) - 1, 4096 << 30]
    assert arith.norm_root(v).tolist() == [scalar_root(value) for value in v]


def test_layer_norm():
    rng = np.random.default_rng(5)
    for channels in (1, 2, 7, 64, 96):
        bias = rng.integers(-(1 << 33), 1 << 33, channels)
        x = rng.integers(-32768, 32768, (6, channels))
        x[0] = 5
        x[1] = np.where(np.arange(channels) % 2, 32767, -32768)
        x[2] = np.arange(channels) % 2  # mean is a tie for even channels
        out, (means, factors) = arith.layer_norm(x, bias), arith.moments(x)
        for row, got, mean, factor in zip(x.tolist(), out.tolist(), means, factors, strict=True):
            m = rne(Fraction(sum(row), channels))
            f = (2**31 - 1) // scalar_root(sum((value - m) ** 2 for value in row))
            assert (mean, factor) == (m, f)
            assert got == [
                math.floor(Fraction((value - m) * f, 2)) + b for value, b in zip(row, bias.tolist(), strict=True)
            ]


# --- products ---


@pytest.mark.parametrize(("a_bits", "b_bits"), [(8, 8), (16, 8), (30, 30), (40, 40)])
def test_matmul_is_exact(a_bits, b_bits):
    """Float64, int64 and Python-integer paths."""
    rng = np.random.default_rng(6)
    a = rng.integers(-(1 << (a_bits - 1)), 1 << (a_bits - 1), (2, 3, 5))
    b = rng.integers(-(1 << (b_bits - 1)), 1 << (b_bits - 1), (2, 5, 4))
    got = arith.matmul(a, b)
    for i in range(2):
        for r in range(3):
            for c in range(4):
                assert got[i, r, c] == sum(int(a[i, r, k]) * int(b[i, k, c]) for k in range(5))


def test_linear():
    x, weight = np.array([[1, -2, 3]], np.int8), np.array([[1, 1, 1], [-128, 127, -128]], np.int8)
    assert arith.linear(x, weight, np.array([10, -(1 << 20)])).tolist() == [[12, -128 - 254 - 384 - (1 << 20)]]


def test_planes_exhaustive():
    p = np.arange(-32768, 32768)
    high, low = arith.planes(p)
    assert (256 * high + low == p).all()
    assert (low.min(), low.max(), high.min(), high.max()) == (0, 255, -128, 127)

"""The laws of rivals: the official code's vectors, and what the laws promise."""

from pathlib import Path

import numpy as np
import pytest

from firmware.graph.constants import dyadic, norm_bias, norm_scale
from hw.spec import arith, rivals

BASELINES = Path(__file__).parents[1] / "data" / "baselines"


def vectors(kind):
    return [pytest.param(path, id=path.stem) for path in sorted(BASELINES.glob(f"{kind}_*.npz"))]


def load(path):
    with np.load(path) as golden:
        return {name: golden[name] for name in golden.files}


@pytest.mark.parametrize("path", vectors("ibert_softmax"))
def test_softmax_of_ibert(path):
    """int8 and int16 scores; the official exponent counts the 30 bits of E that are never formed here."""
    v = load(path)
    constants = (v["I_ln2"], v["b_int"], v["c_int"], v["m"], v["e"] - rivals.EXP_TERMS)
    assert np.array_equal(rivals.int_softmax(v["x"], *constants), v["out"])


@pytest.mark.parametrize("path", vectors("fqvit_lis"))
def test_log_int_softmax_of_fqvit(path):
    v = load(path)
    m = v["x"].max(axis=-1, keepdims=True).astype(np.int64) - v["x"]
    exp = rivals.log_exp(m, v["I_ln2"], v["b_int"], v["c_int"])
    total = exp.sum(axis=-1, keepdims=True)
    for kept in (total, rivals.log_total(rivals.log_factor(total))):
        codes = rivals.log_codes(exp, kept)
        assert np.array_equal(np.where(codes == rivals.CODES, -1, codes), v["out"])
    codes = np.where(v["out"] < 0, rivals.CODES, v["out"])
    expected = rivals.log_probability(codes, 0, 16)
    assert np.array_equal(rivals.log_softmax(v["x"], v["I_ln2"], v["b_int"], v["c_int"]), expected)


def test_sums_keep_20_bits():
    rng = np.random.default_rng(6)
    total = np.concatenate([1 << np.arange(62), (1 << np.arange(1, 62)) - 1, rng.integers(0, 1 << 62, 500) >> 20])
    factor = rivals.log_factor(total)
    kept = rivals.log_total(factor)
    assert factor.max() < 1 << 25
    assert (kept <= total).all()
    assert (total - kept <= np.maximum((total >> 19), (1 << 11) - 1)).all()


def test_powers_of_two():
    """Exact but for 1, which 16 bits do not hold, and what is below the last place."""
    codes = np.arange(17)
    assert rivals.log_probability(codes, 0, 16).tolist() == [32767, *(1 << k for k in reversed(range(15))), 0]
    assert rivals.log_probability(codes, 3, 8).tolist() == [127] * 4 + [64, 32, 16, 8, 4, 2, 1] + [0] * 6


@pytest.mark.parametrize("path", vectors("ibert_gelu"))
def test_gelu_of_ibert(path):
    """Also the official sum with its own shift, which ours follows from c."""
    v = load(path)
    assert np.array_equal(rivals.int_gelu(v["x"], -v["b_int"], -v["c_int"]), -v["out"].astype(np.int64))
    assert v["shift_int"] == v["c_int"] >> rivals.GELU_SHIFT


@pytest.mark.parametrize("path", vectors("ibert_layernorm"))
def test_layer_norm_of_ibert(path):
    v = load(path)
    assert np.array_equal(rivals.int_layer_norm(v["x"], v["bias_int"], v["shift"]), v["out"])


@pytest.mark.parametrize("path", vectors("fqvit_ptf_layernorm"))
def test_power_of_two_factors_of_fqvit(path):
    """Ours is an integer law of its own: a step from the official code at most, and as near to the real numbers.

    Both have a little more noise than rounding alone, 1/12: FQ-ViT of gains of 8 bits, ours of a mean that is rounded.
    """
    v = load(path)
    exponents = np.log2(v["ptf_mult"]).astype(np.int64)
    z = rivals.ptf_layer_norm(v["x"], exponents, norm_bias("norm", v["gamma"], v["beta"]))
    found = arith.rounded(z, *dyadic(norm_scale(v["gamma"]), v["s_out"]))
    assert np.abs(found - v["out"]).max() == 1
    assert 0.05 < (found != v["out"]).mean() < 0.25
    x = (v["x"].astype(np.int64) << exponents).astype(np.float64)
    centred = x - x.mean(axis=-1, keepdims=True)
    real = (centred / x.std(axis=-1, keepdims=True) * v["gamma"] + v["beta"]) / v["s_out"]
    for integers in (found, v["out"]):
        assert 1 / 13 < np.square(integers - real).mean() < 0.13


def test_power_factors_are_rounded_once():
    """Of every code there is a channel's own one; distances of 0 to 10 bits, clamped in 8."""
    x = np.arange(-(1 << 15), 1 << 15)
    for shift in (0, 3, 7):
        for a in range(4):
            step = 2 ** (shift + a)
            expected = np.clip(np.rint(x / step), -128, 127) * 2**a
            assert np.array_equal(rivals.ptf_input(x, a, shift), expected)


def test_root():
    rng = np.random.default_rng(1)
    roots = np.unique(np.concatenate([np.arange(300), rng.integers(0, 1 << 26, 2000)]))
    for v in (roots * roots, roots * roots + 2 * roots, np.maximum(roots * roots - 1, 0)):
        found = rivals.floor_root(v)
        assert (found * found <= v).all()
        assert ((found + 1) ** 2 > v).all()


def test_log_codes_are_the_official_rounding():
    """t = RNE(S/E), l = floor(log2 t), one more where t - 2^l >= 2^(l-1)."""
    rng = np.random.default_rng(2)
    exp = rng.integers(1, 1 << 20, 4000)
    total = np.concatenate([exp[:2000] * rng.integers(1, 1 << 18, 2000) + rng.integers(0, 2, 2000),
                            (exp[2000:] * rng.integers(2, 400, 2000)) // 2]).clip(exp)  # fmt: skip
    expected = []
    for t in arith.divide_round(total, exp).tolist():
        log = t.bit_length() - 1
        log += 2 * (t - (1 << log)) >= 1 << log
        expected.append(min(log, rivals.CODES))
    assert rivals.log_codes(exp, total).tolist() == expected


def test_l1_norm_is_the_distance():
    rng = np.random.default_rng(3)
    x = rng.integers(-20000, 20000, (40, 192))
    y = x - x.mean(axis=1, keepdims=True)
    expected = y / np.abs(y).mean(axis=1, keepdims=True) / 192
    assert np.abs(rivals.l1_layer_norm(x, 0) / 2**33 - expected).max() < 4e-4 / 192


@pytest.mark.parametrize("law", [rivals.l1_moments, rivals.int_moments])
def test_factors_of_rows_without_deviation(law):
    """Whatever the row, a factor has 25 bits; a row of one value gives its biases."""
    mean, factor = law(np.full((1, 96), 1234))
    assert (mean, factor) == (1234, (1 << 25) - 1)
    assert law(np.array([[-32768, 32767] * 2048]))[1] >= 1


def test_hidden_scores_are_not_there():
    rng = np.random.default_rng(4)
    x = rng.integers(-100, 100, (6, 12))
    mask = np.zeros((6, 12), np.int64)
    mask[:, 7:] = 1
    constants = (22, 83, 2662, 1652108263, 27)
    for law, more in ((rivals.int_softmax, constants), (rivals.log_softmax, constants[:3])):
        assert np.array_equal(law(x, *more, mask=mask)[:, :7], law(x[:, :7], *more))
        assert not law(x, *more, mask=mask)[:, 7:].any()

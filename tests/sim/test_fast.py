"""The fast laws equal `hw.spec.arith`: every kernel, at the edges of what makes it exact, on every kind of core."""

import gc
import platform
import warnings
from dataclasses import replace

import numpy as np
import pytest

from hw.spec import arith
from hw.spec.model import Node
from sim import golden
from sim.fast import FastLaws, FusedLaws, fast_laws
from sim.fast import laws as module
from sim.fast.library import load
from sim.libraries import BuildError
from tests.support.models import random_model
from tests.support.swin import random_swin

VARIANTS = {
    "native": (),
    "no VNNI": ("-O1", "-mno-avx512vnni"),
    "no AVX-512": ("-O1", "-mno-avx512f"),
    "portable": ("-O1", "-DPORTABLE", "-Wall", "-Wextra", "-Werror"),
}
X86 = platform.machine() == "x86_64"


@pytest.fixture(scope="module", params=VARIANTS)
def laws(request):
    if request.param.startswith("no ") and not X86:
        pytest.skip("not an x86 processor")
    return FastLaws(load(*VARIANTS[request.param]))


def test_variants_differ(laws, request):
    """Each variant runs other instructions, as far as the processor has them."""
    names = {"portable": {"portable vectors"}, "no AVX-512": {"AVX2", "portable vectors"}}
    variant = request.node.callspec.params["laws"]
    assert laws.processor in names.get(variant, {"AVX-512 VNNI", "AVX-512", "AVX2", "portable vectors"})
    assert variant != "no VNNI" or laws.processor != "AVX-512 VNNI"


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def int8(rng, *shape):
    """Random bytes with runs of both extremes."""
    x = rng.integers(-128, 128, shape)
    x[rng.random(shape) < 0.1] = -128
    return x.astype(np.int8)


def check(got, expected, dtype=None):
    np.testing.assert_array_equal(got, expected)
    assert dtype is None or got.dtype == dtype  # the kernel ran, or did not


# ---- products ----


@pytest.mark.parametrize(
    ("rows", "depth", "outputs"),
    [(1, 1, 1), (8, 4, 48), (9, 5, 49), (7, 192, 33), (23, 47, 96), (3, 770, 17), (197, 64, 10)],
)
def test_linear(laws, rng, rows, depth, outputs):
    x, weight = int8(rng, 2, rows, depth), int8(rng, outputs, depth)
    bias = rng.integers(-(1 << 30), 1 << 30, outputs).astype(np.int32)
    check(laws.linear(x, weight, bias), arith.linear(x, weight, bias), np.int32)


def test_linear_at_the_largest_sum(laws):
    """128 * 128 * 4096 in 32 bits with a bias that reaches their end; one more and the law itself runs."""
    x, weight = np.full((2, 4096), -128, np.int8), np.full((3, 4096), -128, np.int8)
    rest = (1 << 31) - 1 - (1 << 26)
    check(laws.linear(x, weight, np.array([rest, -5, -rest])), arith.linear(x, weight, [rest, -5, -rest]), np.int32)
    bias = np.array([rest + 1, 0, 0])
    check(laws.linear(x, weight, bias), arith.linear(x, weight, bias), np.int64)


def test_linear_of_wider_weights_or_inputs_is_the_law(laws, rng):
    x, weight, bias = int8(rng, 3, 8), int8(rng, 4, 8), np.arange(4)
    check(laws.linear(x.astype(np.int32), weight, bias), arith.linear(x, weight, bias), np.int64)
    check(laws.linear(x, weight.astype(np.int16), bias), arith.linear(x, weight, bias), np.int64)


def test_linear_of_int16_goes_by_byte_planes(laws, rng):
    """In 32 bits while 2^15 times the row sums and the bias fit in them, at both ends of the inputs; else the law."""
    x = rng.integers(-(1 << 15), 1 << 15, (3, 40)).astype(np.int16)
    x[0], x[1] = -(1 << 15), (1 << 15) - 1
    weight, bias = int8(rng, 4, 40), rng.integers(-(1 << 20), 1 << 20, 4)
    weight[0], weight[1] = -128, 127
    check(laws.linear(x, weight, bias), arith.linear(x, weight, bias), np.int32)
    bias[2] = (1 << 31) - 1
    check(laws.linear(x, weight, bias), arith.linear(x, weight, bias), np.int64)
    wide = np.full((1, 600), -(1 << 15), np.int16)
    check(laws.linear(wide, np.full((1, 600), -128, np.int8), np.zeros(1, np.int64)),
          np.array([[600 << 22]]), np.int64)  # fmt: skip


def test_weights_may_change_and_go(laws, rng):
    x, weight, bias = int8(rng, 3, 8), int8(rng, 4, 8), np.arange(4)
    laws.linear(x, weight, bias)
    weight[2, 3] ^= 1
    check(laws.linear(x, weight, bias), arith.linear(x, weight, bias), np.int32)
    bias[1] += 1
    check(laws.linear(x, weight, bias), arith.linear(x, weight, bias), np.int32)
    assert id(weight) in laws._packed
    name = id(weight)
    del weight
    gc.collect()
    assert name not in laws._packed


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize(("tokens", "depth"), [(5, 16), (17, 32), (49, 20)])
def test_scores_and_context_of_views(laws, rng, tokens, depth, heads):
    """Queries, keys and values are views into one array, as in the golden model."""
    qkv = int8(rng, 2, tokens, 3, heads, depth).transpose(2, 0, 3, 1, 4)
    query, key, value = qkv
    check(laws.matmul(query, key.swapaxes(-1, -2)), arith.matmul(query, key.swapaxes(-1, -2)), np.int32)
    for dtype, most in ((np.int16, 1 << 15), (np.int8, 1 << 7)):
        p = rng.integers(0, most, (2, heads, tokens, tokens)).astype(dtype)
        check(laws.matmul(p, value), arith.matmul(p, value), np.int32)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 2, 3), (2, 1, 2, 3)])
def test_matmul_of_any_rank(laws, rng, shape):
    a, b = int8(rng, *shape, 6, 7), int8(rng, *shape, 7, 5)
    check(laws.matmul(a, b), arith.matmul(a, b), np.int32)
    a, b = a.swapaxes(-1, -2), b.swapaxes(-1, -2)
    check(laws.matmul(b, a), arith.matmul(b, a), np.int32)


def test_matmul_is_bounded_by_depth_or_row_sums(laws):
    """1000 * 2^15 * 2^7 exceeds 32 bits; probabilities do not, whose rows sum up to less than 2^15."""
    b = np.full((1000, 4), -128, np.int8)
    p = np.zeros((3, 1000), np.int16)
    p[:, ::40] = 1310  # 32750
    check(laws.matmul(p, b), arith.matmul(p, b), np.int32)
    p[:] = 32767
    check(laws.matmul(p, b), arith.matmul(p, b), np.int64)
    check(laws.matmul(p.astype(np.int32), b), arith.matmul(p, b), np.int64)


# ---- requantization ----


def edges(rng, bits, count=2000):
    """Numbers of `bits` bits: both ends, around zero, around powers of two, random."""
    powers = 1 << np.arange(bits - 1)
    some = rng.integers(-(1 << (bits - 1)), 1 << (bits - 1), count)
    return np.concatenate([some, some >> (bits // 2), powers, -powers, powers - 1, [0, -(1 << (bits - 1))]])


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("mult", [1 << 31, (1 << 31) - 1, -(1 << 31), 1 << 30, -(1 << 30) - 1, 3, 1, 0])
def test_requantize_at_every_shift(laws, rng, bits, mult):
    z = edges(rng, 32)
    for shift in range(63):
        exact = arith.requantize(z, mult, shift, bits)
        factors = np.array([mult]), np.array([shift], np.int8)
        check(laws.requantize(z.astype(np.int32)[None], *factors, bits), exact[None], f"int{bits}")


def test_requantize_of_narrow_numbers_is_exhaustive(laws):
    """Every int8, and every tie of every shift."""
    z = np.arange(-128, 128, dtype=np.int8)[None]
    for mult in (1, -1, 3, 96, 1 << 30):
        for shift in range(40):
            factors = np.array([mult]), np.array([shift])
            check(laws.requantize(z, *factors, 8), arith.requantize(z, *factors, 8), np.int8)


@pytest.mark.parametrize("bits", [8, 16])
def test_requantize_next_to_a_tie_at_the_largest_float_shift(laws, bits):
    """z * mult = tie +- 1, in the last place of 2^-shift, where float64 is nearest to its limit."""
    shift = 52 - bits
    candidates = np.arange(1 << 20, (1 << 20) + (1 << 19))
    found = 0
    for quotient in range((1 << bits - 2) - 20, (1 << bits - 2) + 20):
        for off in (-1, 1):
            product = (2 * quotient + 1 << shift - 1) + off
            for divisor in candidates[product % candidates == 0][:3]:
                other = product // int(divisor)
                if other > 1 << 31:
                    continue
                found += 1
                for z, mult in ((divisor, other), (-divisor, other), (divisor, -other)):
                    factors = np.array([mult]), np.array([shift])
                    got = laws.requantize(np.array([[z]], np.int32), *factors, bits)
                    check(got, arith.requantize([[z]], *factors, bits), f"int{bits}")
    assert found > 10


@pytest.mark.parametrize("bits", [8, 16])
def test_requantize_per_channel(laws, rng, bits):
    z = rng.integers(-(1 << 24), 1 << 24, (2, 9, 65)).astype(np.int32)
    for most in (52 - bits, 62):
        mult = rng.integers(1 << 30, (1 << 31) + 1, 65) * rng.choice([-1, 1], 65)
        shift = rng.integers(30, most + 1, 65).astype(np.int8)
        check(laws.requantize(z, mult, shift, bits), arith.requantize(z, mult, shift, bits), f"int{bits}")
    shift[3] = 63
    check(laws.requantize(z, mult, shift, bits), arith.requantize(z, mult, shift, bits), np.int64)


@pytest.mark.parametrize("bits", [8, 16])
def test_requantize_after_layer_norm(laws, rng, bits):
    """35-bit numbers times 33 bits, in halves; up to 46 bits, and the law beyond."""
    for width in (35, 46):
        z = edges(rng, width)
        z = z[: len(z) // 8 * 8].reshape(-1, 8)
        for shift in range(17, 63):
            mult = rng.choice([-1, 1], 8) * rng.integers(1 << 30, (1 << 31) + 1, 8)
            factors = mult, np.full(8, shift)
            check(laws.requantize(z, *factors, bits), arith.requantize(z, *factors, bits), f"int{bits}")
    z[0, 0] = 1 << 45
    check(laws.requantize(z, *factors, bits), arith.requantize(z, *factors, bits), np.int64)
    factors = mult, np.full(8, 16)
    check(laws.requantize(z >> 12, *factors, bits), arith.requantize(z >> 12, *factors, bits), np.int64)


@pytest.mark.parametrize("bits", [8, 16])
def test_add(laws, rng, bits):
    x, y = (edges(rng, 16).astype(np.int16) for _ in range(2))
    y = rng.permutation(y)
    for shift in range(63):
        mult, mult1 = rng.integers(1 << 30, (1 << 31) + 1, 2)
        more = {"identity": y[None], "mult_identity": np.array([mult1]), "shift_identity": np.array([62 - shift])}
        factors = np.array([mult]), np.array([shift])
        check(
            laws.requantize(x[None], *factors, bits, **more),
            arith.requantize(x[None], *factors, bits, **more),
            f"int{bits}",
        )


def test_add_of_the_class_token(laws, rng):
    """Beyond int16, up to 20 bits, with a batch of one identity; more bits are the law's."""
    x = rng.integers(-(1 << 20) + 1, 1 << 20, (3, 5, 6)).astype(np.int32)
    y = rng.integers(-128, 128, (1, 5, 6)).astype(np.int8)
    factors = np.array([1518500249]), np.array([36], np.int8)
    more = {"identity": y, "mult_identity": np.array([1 << 31]), "shift_identity": np.array([24])}
    check(laws.requantize(x, *factors, 16, **more), arith.requantize(x, *factors, 16, **more), np.int16)
    for too_much in (1 << 20, -(1 << 31)):
        x[1, 2, 3] = too_much
        check(laws.requantize(x, *factors, 16, **more), arith.requantize(x, *factors, 16, **more), np.int64)


# ---- rows ----


@pytest.mark.parametrize("i0", [1, 2, 7, 33, 100, 255, 1023])
@pytest.mark.parametrize("bits", [8, 16])
def test_shiftmax_of_every_pair(laws, i0, bits):
    first, second = (axis.reshape(-1) for axis in np.meshgrid(*[np.arange(-128, 128, dtype=np.int8)] * 2))
    x = np.stack([first, second, second], axis=-1)
    check(laws.shiftmax(x, i0, bits), arith.shiftmax(x, i0, bits), f"int{bits}")


def test_shiftmax_of_rows(laws, rng):
    """Long rows, a clamped sum, and exponentials beyond 31 bits, which are the law's."""
    x = int8(rng, 2, 3, 5, 197)
    check(laws.shiftmax(x, 20), arith.shiftmax(x, 20), np.int16)
    x[0] = 127
    assert arith.shift_exp(0, 1023) * 197 > arith.INT32_MAX
    check(laws.shiftmax(x, 1023), arith.shiftmax(x, 1023), np.int16)
    check(laws.shiftmax(x, 1023, 16, 31), arith.shiftmax(x, 1023, 16, 31), np.int64)


@pytest.mark.parametrize("bits", [8, 16])
def test_shiftmax_with_a_mask(laws, rng, bits):
    """Every pair of a visible score with a hidden one; then Swin's masks, the same for batch and heads."""
    first, second = (axis.reshape(-1) for axis in np.meshgrid(*[np.arange(-128, 128, dtype=np.int8)] * 2))
    x, mask = np.stack([first, second, second], axis=-1), np.array([[0, 1, 0]])
    for i0 in (1, 30, 1023):
        check(laws.shiftmax(x, i0, bits, 15, mask), arith.shiftmax(x, i0, bits, 15, mask), f"int{bits}")
    x, mask = int8(rng, 2, 4, 3, 49, 49), rng.integers(0, 2, (1, 4, 1, 49, 49)).astype(np.int16)
    mask[..., 7] = 0
    check(laws.shiftmax(x, 25, bits, 15, mask), arith.shiftmax(x, 25, bits, 15, mask), f"int{bits}")
    check(laws.shiftmax(x, 25, bits, 15, mask[0]), arith.shiftmax(x, 25, bits, 15, mask[0]), np.int64)


@pytest.mark.parametrize("i0", [1, 12, 29, 255, 256, 1023])
def test_shift_gelu_of_every_pair(laws, i0):
    first, second = (axis.reshape(-1) for axis in np.meshgrid(*[np.arange(-128, 128, dtype=np.int8)] * 2))
    x = np.stack([first, second], axis=-1)
    check(laws.shift_gelu(x, i0), arith.shift_gelu(x, i0), np.int32)


def test_layer_norm(laws, rng):
    x = rng.integers(-32768, 32768, (2, 40, 96))
    x[0, :20] >>= rng.integers(0, 16, (20, 1))  # small variances, whose root has not converged after ten steps
    x[1, 0], x[1, 1] = 32767, -32768
    x[1, 2, ::2], x[1, 2, 1::2] = 32767, -32768
    x[1, 3] = np.arange(96) % 2  # the mean is a tie
    x[1, 4] = -(np.arange(96) % 2) - 2
    bias = rng.integers(-(1 << 33), 1 << 33, 96)
    check(laws.layer_norm(x.astype(np.int16), bias), arith.layer_norm(x, bias), np.int64)
    x = int8(rng, 5, 7)
    check(laws.layer_norm(x, bias[:7]), arith.layer_norm(x, bias[:7]), np.int64)
    x = x.astype(np.int32)
    check(laws.layer_norm(x, bias[:7]), arith.layer_norm(x, bias[:7]), np.int64)


def test_layer_norm_of_every_small_variance(laws):
    """V = 2 k^2 for k up to 300: below, at and beyond the roots that ten steps reach."""
    x = np.zeros((300, 3), np.int16)
    x[:, 0], x[:, 1] = np.arange(300), -np.arange(300)
    check(laws.layer_norm(x, np.zeros(3, np.int64)), arith.layer_norm(x, np.zeros(3, np.int64)), np.int64)


# ---- law and requantization in one pass ----


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("most", ["float", "integers", "law"])
def test_fused(laws, rng, bits, most):
    """Through float64, 64-bit integers or Python's, as shifts ask for; one factor, or one per channel."""
    shift = {"float": 52 - bits, "integers": 62, "law": 63}[most]
    x, weight, bias = int8(rng, 2, 21, 70), int8(rng, 50, 70), rng.integers(-9999, 9999, 50)
    rows, offset = rng.integers(-32768, 32768, (2, 9, 50)).astype(np.int16), rng.integers(-(1 << 33), 1 << 33, 50)
    for count in (1, 50):
        mult = rng.integers(1 << 30, (1 << 31) + 1, count) * rng.choice([-1, 1], count)
        shifts = np.full(count, shift)
        shifts[: count // 2] = 33
        fused = FusedLaws(laws, mult, shifts, bits)
        exact = arith.requantize(arith.linear(x, weight, bias), mult, shifts, bits)
        check(fused.linear(x, weight, bias), exact)
        exact = arith.requantize(arith.layer_norm(rows, offset), mult, shifts, bits)
        check(fused.layer_norm(rows, offset), exact)
    one = np.array([1 << 30]), np.array([shift if most != "law" else 37])
    fused = FusedLaws(laws, *one, bits)
    a, b = rng.integers(0, 1 << 15, (2, 3, 19, 23)).astype(np.int16), int8(rng, 2, 3, 23, 33)
    check(fused.matmul(a, b), arith.requantize(arith.matmul(a, b), *one, bits), f"int{bits}")
    a = int8(rng, 2, 3, 19, 23)
    check(fused.matmul(a, b), arith.requantize(arith.matmul(a, b), *one, bits), f"int{bits}")
    check(fused.shift_gelu(x, 21), arith.requantize(arith.shift_gelu(x, 21), *one, bits), f"int{bits}")


def test_fused_sums_that_do_not_fit(laws):
    """Sums beyond 32 bits and an offset beyond 44 are the law's."""
    fused = FusedLaws(laws, np.array([1 << 30]), np.array([44]), 16)
    x, weight, bias = np.full((1, 8), 127, np.int8), np.full((2, 8), 127, np.int8), np.array([1 << 31, -(1 << 33)])
    exact = arith.requantize(arith.linear(x, weight, bias), 1 << 30, 44, 16)
    check(fused.linear(x, weight, bias), exact)
    rows, bias = np.arange(8, dtype=np.int16)[None], np.full(8, (1 << 50) + 12345)
    exact = arith.requantize(arith.layer_norm(rows, bias), 1 << 30, 44, 16)
    check(fused.layer_norm(rows, bias), exact)


def test_what_is_read_twice_is_not_fused():
    model = random_model()
    fused = golden._fused(model)
    assert fused["blocks.0.attn.qkv"].name == "blocks.0.attn.qact1"
    assert fused["blocks.1.norm1"].name == "blocks.1.qact1"
    assert not {"qact1", "blocks.0.attn.int_softmax", "norm", "head"} & fused.keys()
    other = Node("other", "requantize", ("blocks.0.attn.qkv",), {"bits": 8})
    assert "blocks.0.attn.qkv" not in golden._fused(replace(model, nodes=(*model.nodes, other)))


def test_context_by_channel_is_not_fused(rng):
    """Its columns are not yet the channels when its product ends."""
    model = random_model(depth=1)
    name, tensors = "blocks.0.attn.qact2", dict(model.tensors)
    for key in ("mult", "shift"):
        tensors[f"{name}.{key}"] = np.repeat(tensors[f"{name}.{key}"], 64)
    tensors[f"{name}.mult"] = tensors[f"{name}.mult"] - 1000 * np.arange(64)
    model = replace(model, tensors=tensors)
    assert "blocks.0.attn.matmul_2" not in golden._fused(model)
    images = int8(rng, 2, *model.image)
    check(golden.run(model, images), golden.run(model, images, laws=arith))


# ---- whole models ----


MODELS = {
    "ViT, 16 bits": lambda: random_model(3, heads=4, hidden=96),
    "ViT, 8 bits": lambda: random_model(3, bits=8),
    "Swin": lambda: random_swin(1, depths=(2, 2), window=4),
}


@pytest.mark.parametrize("name", MODELS)
def test_whole_model(laws, rng, name):
    """Every operator's output; pieces and threads change nothing."""
    model = MODELS[name]()
    images = int8(rng, 7, *model.image)
    expected, got = {}, {}
    logits = golden.run(model, images, expected, laws=arith)
    check(golden.run(model, images, got, laws=laws), logits, np.int32)
    assert expected.keys() == got.keys()
    for name, value in expected.items():
        check(got[name], value, np.int64)
    for threads in (1, 2, 5):
        check(golden.run(model, images, threads=threads, laws=laws), logits, np.int32)


def test_no_operator_falls_back(monkeypatch, rng):
    """On the networks we are made for every law with a kernel runs on it."""
    models = [make() for make in MODELS.values()]
    for model in models:
        golden.run(model, int8(rng, 1, *model.image))  # the law fills the tables
    for name in ("linear", "matmul", "requantize", "layer_norm", "shiftmax", "shift_gelu"):
        monkeypatch.setattr(arith, name, lambda *_, name=name, **__: pytest.fail(f"{name} fell back"))
    for model in models:
        golden.run(model, int8(rng, 2, *model.image))


def test_without_a_compiler_the_laws_run(monkeypatch):
    def fail():
        raise BuildError("the fast golden model needs a C++ compiler: install g++")

    monkeypatch.setattr(module, "load", fail)
    fast_laws.cache_clear()
    with pytest.warns(RuntimeWarning, match=r"runs on NumPy, far slower: .* install g\+\+"):
        assert fast_laws() is arith
    fast_laws.cache_clear()
    monkeypatch.undo()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(fast_laws(), FastLaws)


def test_no_compiler_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("SHIFTWORK_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match=r"the fast golden model needs a C\+\+ compiler: install g\+\+"):
        load("-DNEVER_COMPILED")

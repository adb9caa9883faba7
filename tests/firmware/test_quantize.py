"""The quantizer: I-ViT's rules, the shipped example reproduced byte for byte, and refusals in one sentence."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from firmware.__main__ import main
from firmware.architectures import architecture
from firmware.errors import UserError
from firmware.families import FAMILIES, Wanted
from firmware.graph.constants import quantized
from firmware.ivit import dyadic, gelu_i0, model_from_state, softmax_i0
from firmware.make_model import float_weights
from firmware.make_model import images as architecture_images
from firmware.model_file import load_model
from firmware.preprocess import normalise, to_int8
from firmware.quantizer import RANGES, RECIPES, Measurement, Recipe, official_state, quantize
from firmware.quantizer.calibration import Calibration
from firmware.quantizer.measure import sqnr
from firmware.quantizer.ranges import choose_scale, symmetric_scale
from firmware.quantizer.scores import score_scale
from hw.spec import arith
from hw.spec.model import ModelError
from sim import golden

DIGITS = Path(__file__).parents[2] / "examples" / "digits"


@pytest.fixture(scope="module")
def weights():
    return load_file(DIGITS / "float.safetensors")


@pytest.fixture(scope="module")
def images():
    return normalise(np.load(DIGITS / "calibration.npy"), [0.5], [0.5])


def digits(weights, images, **options):
    settings = {"name": "digits", "patch": 2, "heads": 2, "mean": [0.5], "std": [0.5]}
    return quantize(weights, images, **settings, **split(options))


def split(options):
    """Options of `quantize`, those of a recipe as a recipe."""
    recipe = {key: options.pop(key) for key in list(options) if key in Recipe.__dataclass_fields__}
    return {"recipe": Recipe(**recipe), **options}


def accuracy(model):
    logits = golden.run(model, to_int8(np.load(DIGITS / "images.npy"), model)) * model.logit_scale.astype(np.float64)
    return (logits.argmax(1) == np.load(DIGITS / "labels.npy")).mean(), logits


def test_shipped_model_is_reproduced(tmp_path, capsys):
    """By the command in examples/digits/train.py, byte for byte."""
    made = tmp_path / "digits.safetensors"
    files = [str(DIGITS / "float.safetensors"), "--images", str(DIGITS / "calibration.npy"), "-o", str(made)]
    assert main(["quantize", *files, "--patch", "2", "--heads", "2", "--mean", "0.5", "--std", "0.5"]) == 0
    assert made.read_bytes() == (DIGITS / "digits.safetensors").read_bytes()
    assert "256 calibration images: same class as in float 100.0%" in capsys.readouterr().out


def test_shipped_model_is_as_accurate_as_the_float_one():
    share, logits = accuracy(load_model(DIGITS / "digits.safetensors"))
    expected = np.load(DIGITS / "float_logits.npy")
    assert share >= (expected.argmax(1) == np.load(DIGITS / "labels.npy")).mean() - 0.01
    assert (logits.argmax(1) == expected.argmax(1)).mean() > 0.97


@pytest.mark.parametrize("ranges", RANGES)
@pytest.mark.parametrize("bits", [8, 16])
def test_every_option_keeps_the_accuracy(weights, images, ranges, bits):
    share, _ = accuracy(digits(weights, images[:48], ranges=ranges, attention_bits=bits))
    assert share > 0.95


def test_state_follows_the_rules(weights, images):
    state = official_state(weights, images, heads=2)
    for name in ("blocks.0.attn.qkv", "blocks.3.mlp.fc2", "head"):
        w, s = weights[f"{name}.weight"], state[f"{name}.fc_scaling_factor"]
        np.testing.assert_array_equal(s, np.abs(w).max(1) / np.float32(127))
        assert np.abs(state[f"{name}.weight_integer"] * s[:, None] - w).max() <= 0.51 * s.max()
    assert state["qact_input.act_scaling_factor"] == np.float32(1 / 127)
    mult, shift = dyadic(np.float32([0.3]), np.float32(0.7))
    assert abs(mult[0] / 2.0 ** shift[0] - 0.3 / 0.7) < 1e-7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("norm.weight"), "tensor norm.weight is missing from the checkpoint"),
        (lambda w: w["head.weight"].__setitem__((0, 0), np.nan), "tensor head.weight contains NaN or infinity"),
        (
            lambda w: w.update(pos_embed=w["pos_embed"][:, :8]),
            "pos_embed must be of 1 and a square of patches, not of 8",
        ),
    ],
)
def test_refusals(weights, images, change, message):
    broken = {name: array.copy() for name, array in weights.items()}
    change(broken)
    with pytest.raises((ModelError, UserError), match=message):
        digits(broken, images[:16])


def test_unknown_ranges(weights, images):
    with pytest.raises(ModelError, match="ranges must be one of ema, minmax, percentile, mse, not 'best'"):
        digits(weights, images[:16], ranges="best")


# --- Swin ---

SWIN = architecture("swin_tiny", img_size=32, window=4, dim=16, depth=(2, 2), heads=(1, 2), classes=7)


@pytest.mark.parametrize("recipe", ["minmax", "percentile"])
def test_free_recipes(weights, images, recipe):
    """Every freedom of the graph: no class is lost, and the logits are nearer to the float network's than by I-ViT's
    scales; the same function by every node's law, exact arithmetic and fast."""
    measures = {}
    for name in ("official", recipe):
        measures[name] = Measurement()
        model = digits(weights, images[:48], recipe=RECIPES[name], measure=measures[name])
    assert measures[recipe].end["logit_sqnr"] > measures["official"].end["logit_sqnr"] + 1
    assert {node.op for node in model.nodes} >= {"table", "shiftmax"}
    assert model.tensors["blocks.0.attn.int_softmax.i0"].shape == (2, 1, 1)
    share, logits = accuracy(model)
    assert share >= 0.975
    few = to_int8(np.load(DIGITS / "images.npy")[:4], model)
    slow = golden.run(model, few, laws=arith) * model.logit_scale.astype(np.float64)
    np.testing.assert_array_equal(slow, logits[:4])


@pytest.mark.parametrize("width", [17, 197, 257, 4096])
def test_score_scales(width):
    """No row can clamp its sum, I0 is what the scale makes it, and the scale is at most 4 % coarser than it may be."""
    octave = 23 / 16 * math.log(2)
    rng = np.random.default_rng(width)
    for least in 2.0 ** np.arange(-14, 7, 1.37):
        rows = rng.normal(0, 40 * least, (4, width))
        scale, i0, fraction = score_scale(rows, least)
        assert abs(octave * (1 << fraction) / float(scale) - i0) < 1e-4 * i0
        assert (1 <= i0 <= 1023, i0 * width < 1 << 16, 0 <= fraction <= 7) == (True, True, True)
        assert scale >= least * (1 - 1e-6)
        if 2**-4 < least < 4 and width < 1000:
            assert scale <= least * 1.25 * 1.04, (least, scale, i0, fraction)
    assert score_scale(np.zeros((1, width)), 200.0)[1:] == (1, 7)


@pytest.mark.parametrize(("width", "spread"), [(49, 0.5), (197, 0.5), (257, 1.0), (257, 3.0)])
def test_probabilities_are_near_with_the_chosen_scale(width, spread):
    """Nearer than with the largest I0 that no row clamps with, whose sums leave the factor of flat rows few bits."""
    rows = np.random.default_rng(width).normal(0, spread, (64, width))
    wanted = np.exp(rows) / np.exp(rows).sum(1, keepdims=True)

    def error(scale, i0, fraction):
        codes = np.clip(np.rint(rows / float(scale)), -128, 127).astype(int)
        law = arith.shiftmax(codes, i0, 16, fraction=fraction) / 2.0**15
        return np.square(law / law.sum(1).mean() - wanted).sum() / np.square(wanted).sum()

    least = float(np.abs(rows).max() / 127)
    chosen = score_scale(rows, least)
    largest = ((1 << 16) - 1) // width
    fraction = next(f for f in range(8) if (1 << f) / least >= largest or f == 7)
    i0 = min(int((1 << fraction) / least), largest)
    assert 10 * math.log10(error(*chosen)) < -29
    assert error(*chosen) < 0.7 * error((1 << fraction) / i0, i0, fraction)


@pytest.mark.parametrize("recipe", [Recipe(correct_attention=True), RECIPES["minmax"]], ids=["corrected", "minmax"])
def test_probabilities_that_vanish_have_a_scale(recipe):
    """8-bit floors of a flat row of 257 are zeros, which sum up to nothing."""
    law = np.float32(2.0**-7)
    assert Calibration._summing_to_one(np.array([0.0, 100.0, 128.0]), law) == pytest.approx([4 / 128, 1 / 100, 1 / 128])
    rng = np.random.default_rng(0)
    shape = architecture("deit_tiny_patch16_224", depth=1)
    weights = float_weights(shape, 0)
    for name in weights:
        if name.endswith("attn.qkv.weight"):
            weights[name][:] = rng.normal(0, 1e-6, weights[name].shape)
    pixels = normalise(architecture_images(shape, 2, 0), *shape.statistics)
    mean, std = shape.statistics
    model = quantize(weights, pixels, name="flat", mean=mean, std=std, heads=3, attention_bits=8, recipe=recipe)
    assert np.all(np.isfinite(model.logit_scale))


@pytest.fixture(scope="module")
def swin_weights():
    return float_weights(SWIN, seed=5)


@pytest.fixture(scope="module")
def swin_images():
    return normalise(architecture_images(SWIN, 24, seed=5), *SWIN.statistics)


def swin(weights, images, **options):
    mean, std = SWIN.statistics
    return quantize(weights, images, name="swin", mean=mean, std=std, **split(options))


def gelu(x):
    return x * np.vectorize(math.erf)(x / 2**0.5) / 2 + x / 2


def float_swin(weights, images):
    """timm's Swin in float64, written from its definition with loops over windows; the names are timm's."""
    w = {name: value.astype(np.float64) for name, value in weights.items()}

    def linear(name, x):
        return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0)

    def norm(name, x):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return x * w[f"{name}.weight"] + w[f"{name}.bias"]

    def attention(at, x, heads, shift):
        size, out = SWIN.window, np.zeros_like(x)
        side, dim = x.shape[1], x.shape[3]
        for top in range(0, side, size):
            for left in range(0, side, size):
                where = [(i, j) for i in range(top, top + size) for j in range(left, left + size)]
                source = [((i + shift) % side, (j + shift) % side) for i, j in where]
                tokens = np.stack([x[:, i, j] for i, j in source], 1)
                q, k, v = linear(f"{at}.qkv", tokens).reshape(len(x), len(where), 3, heads, -1).transpose(2, 0, 3, 1, 4)
                scores = q @ k.swapaxes(-1, -2) * (dim // heads) ** -0.5
                for a, (i, j) in enumerate(where):
                    for b, (m, n) in enumerate(where):
                        row = (i - m + size - 1) * (2 * size - 1) + j - n + size - 1
                        scores[:, :, a, b] += w[f"{at}.relative_position_bias_table"][row]
                        near = (source[a][0] - source[b][0], source[a][1] - source[b][1]) == (i - m, j - n)
                        scores[:, :, a, b] -= 0 if near else 1e9
                p = np.exp(scores - scores.max(-1, keepdims=True))
                mixed = (p / p.sum(-1, keepdims=True) @ v).transpose(0, 2, 1, 3).reshape(tokens.shape)
                for a, (i, j) in enumerate(source):
                    out[:, i, j] = linear(f"{at}.proj", mixed)[:, a]
        return out

    n, c, side, _ = images.shape
    p = SWIN.patch
    x = (
        images
        .reshape(n, c, side // p, p, side // p, p)
        .transpose(0, 2, 4, 1, 3, 5)
        .reshape(n, side // p, side // p, -1)
    )
    x = x @ w["patch_embed.proj.weight"].reshape(SWIN.dim, -1).T + w["patch_embed.proj.bias"]
    x = norm("patch_embed.norm", x)
    for stage, (depth, heads) in enumerate(zip(SWIN.depths, SWIN.heads, strict=True)):
        if stage:
            x = np.concatenate([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], -1)
            x = linear(f"layers.{stage}.downsample.reduction", norm(f"layers.{stage}.downsample.norm", x))
        for block in range(depth):
            at = f"layers.{stage}.blocks.{block}"
            shift = SWIN.window // 2 if block % 2 and x.shape[1] > SWIN.window else 0
            x = x + attention(f"{at}.attn", norm(f"{at}.norm1", x), heads, shift)
            x = x + linear(f"{at}.mlp.fc2", gelu(linear(f"{at}.mlp.fc1", norm(f"{at}.norm2", x))))
    return linear("head.fc", norm("norm", x).mean((1, 2)))


def test_quantized_swin_computes_what_the_float_one_does(swin_weights, swin_images):
    """Windows, shifts, masks, biases, merging order and pooling: any of them wrong, and the logits are unrelated."""
    model = swin(swin_weights, swin_images)
    exact = float_swin(swin_weights, swin_images)
    pixels = architecture_images(SWIN, 24, seed=5)
    logits = golden.run(model, to_int8(pixels, model)) * model.logit_scale.astype(np.float64)
    centred = [values - values.mean(0) for values in (exact, logits)]  # what distinguishes the images
    assert np.corrcoef(*(values.ravel() for values in centred))[0, 1] > 0.97
    assert np.corrcoef(exact.ravel(), logits.ravel())[0, 1] > 0.99


def test_corrected_attention_sums_up_to_one(swin_weights, swin_images):
    """The first block's context, whose integers are the same, is taken for as much more as its probabilities lack."""
    measures = {correct: Measurement() for correct in (False, True)}
    models = {
        correct: swin(swin_weights, swin_images, correct_attention=correct, measure=measure)
        for correct, measure in measures.items()
    }
    at, trace = "layers.0.blocks.0.attn", {}
    golden.run(models[True], to_int8(architecture_images(SWIN, 24, seed=5), models[True]), trace)
    share = (trace[f"{at}.log_int_softmax"] / 128).sum(-1).mean()
    assert share < 0.96
    plain, corrected = ({row.name: row for row in measures[correct].rows}[f"{at}.qact3"] for correct in (False, True))
    assert corrected.scale / plain.scale == pytest.approx(1 / share, rel=1e-5)
    assert corrected.sqnr > plain.sqnr
    assert measures[True].end["logit_sqnr"] > measures[False].end["logit_sqnr"]


def test_command_corrects_attention(tmp_path):
    made = {}
    for option in ((), ("--correct-attention",)):
        own = ("--ranges", "ema", *option)
        files = [str(DIGITS / "float.safetensors"), "--images", str(DIGITS / "calibration.npy"), "--count", "16"]
        paths = ["-o", str(tmp_path / "m.safetensors"), "--report", str(tmp_path / "r.json")]
        sizes = ["--patch", "2", "--heads", "2", "--mean", "0.5", "--std", "0.5", "--attention-bits", "8"]
        assert main(["quantize", *files, *sizes, *paths, *own]) == 0
        report, model = json.loads((tmp_path / "r.json").read_text()), load_model(tmp_path / "m.safetensors")
        assert report["correct_attention"] is bool(option)
        made[option] = report["end_to_end"]["logit_sqnr"], accuracy(model)[0]
    (plain, _), (corrected, share) = made.values()
    assert corrected > plain
    assert share > 0.95


def test_older_names_are_the_same_swin(swin_weights, swin_images):
    """Microsoft's checkpoints and older timm: the merging ends a stage, and the head has no fc."""
    older = {
        name.replace("layers.1.downsample", "layers.0.downsample").replace("head.fc", "head"): value
        for name, value in swin_weights.items()
    }
    new, old = (swin(weights, swin_images[:4]) for weights in (swin_weights, older))
    assert new.nodes == old.nodes
    for name, tensor in new.tensors.items():
        np.testing.assert_array_equal(tensor, old.tensors[name])


def test_swin_state_is_an_official_one(swin_weights, swin_images):
    """Calibration and import are one road: the state it leaves imports to the same model."""
    state = official_state(swin_weights, swin_images[:4])
    mean, std = SWIN.statistics
    again = model_from_state(state, name="swin", image=(3, 32, 32), mean=mean, std=std)
    model = swin(swin_weights, swin_images[:4])
    assert again.nodes == model.nodes
    for name, tensor in model.tensors.items():
        np.testing.assert_array_equal(tensor, again.tensors[name])
    bits = {node.attributes["bits"] for node in model.nodes if node.op == "shiftmax"}
    assert bits == {8}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("layers.0.blocks.1.attn.relative_position_bias_table"),
         "tensor layers.0.blocks.1.attn.relative_position_bias_table is missing"),
        (lambda w: w.pop("layers.1.downsample.norm.weight"), "tensor layers.0.downsample.norm.weight is missing"),
        (lambda w: w.update({"layers.0.blocks.0.attn.proj.bias": np.zeros(3)}), r"proj.bias must have shape \[16\]"),
        (lambda w: w.update({"layers.0.blocks.0.attn.qkv.weight": np.ones((47, 16))}), r"qkv.bias must have shape"),
        (lambda w: w.update({"head.fc.weight": np.zeros(3)}), "tensor head.weight must be a matrix, not"),
        (lambda w: w.update({"patch_embed.proj.weight": np.ones((16, 3, 5, 5))}), "5 x 5 do not divide the image 32"),
        (lambda w: w["layers.0.blocks.1.attn.qkv.weight"].__imul__(60), "too coarse for a mask of -100"),
    ],
)  # fmt: skip
def test_bad_swins_are_refused(swin_weights, swin_images, change, message):
    broken = {name: array.copy() for name, array in swin_weights.items()}
    change(broken)
    with pytest.raises(ModelError, match=message) as caught:
        swin(broken, swin_images[:2])
    assert "\n" not in str(caught.value)


# --- choosing scales ---


def test_search_makes_the_error_behind_the_operator_least():
    """No other scale that was allowed gives a smaller error of what Shiftmax and ShiftGELU compute."""
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 2, (2, 2, 20, 20))
    hidden = np.concatenate(
        [rng.normal(0, 1, (2, 30, 64)), np.full((2, 1, 64), 14.0)], axis=1
    )  # beyond ShiftGELU's 9.4

    def shiftmax_error(scale):
        p = arith.shiftmax(quantized(logits, scale, 8), softmax_i0(scale), bits=16) / 2**15
        e = np.exp(logits - logits.max(-1, keepdims=True))
        return np.square(p - e / e.sum(-1, keepdims=True)).sum()

    def gelu_error(scale):
        y = arith.shift_gelu(quantized(hidden, scale, 8), gelu_i0(scale)) * float(scale) / 128
        return np.square(y - hidden * np.vectorize(math.erfc)(-hidden / math.sqrt(2)) / 2).sum()

    for use, values, error in (("shiftmax", logits, shiftmax_error), ("gelu", hidden, gelu_error)):
        scale = choose_scale("mse", values, 8, use)
        largest = symmetric_scale(np.abs(values).max(), 8)
        assert error(scale) <= min(error(np.float32(largest * ratio)) for ratio in np.linspace(0.2, 1, 41)) * 1.02, use
        unit = 1.702 if use == "gelu" else 1
        assert 0.99 < unit * scale * round(1 / (unit * scale)) < 1.01  # I0 is the reciprocal, not one above it


def test_search_clips_outliers_where_that_is_better():
    values = np.random.default_rng(1).normal(0, 1, (400, 1000))
    values[0, 0] = 9
    errors = {}
    for name in ("minmax", "mse"):
        scale = float(choose_scale(name, values, 8))
        errors[name] = np.square(np.clip(np.rint(values / scale), -128, 127) * scale - values).mean()
    assert errors["mse"] < 0.6 * errors["minmax"]


@pytest.mark.parametrize("ranges", RANGES)
def test_untrained_networks_stay_within_the_operators(ranges):
    """Ranges so small that I0 would clamp the sum of exponentials, or leave its 10 bits, get a coarser scale."""
    tiny = np.random.default_rng(0).normal(0, 1e-4, (2, 3, 197, 197))
    i0 = softmax_i0(choose_scale(ranges, tiny, 8, "shiftmax"))
    assert 197 * i0 << 15 < 1 << 31
    assert i0 > 320
    assert 240 < gelu_i0(choose_scale(ranges, tiny, 8, "gelu")) <= 255


def outlying(weights, factor):
    """The same float network but for a few channels of LayerNorm outputs that are `factor` times as large."""
    found = {name: array.copy() for name, array in weights.items()}
    for block in range(4):
        for norm, reader in (("norm1", "attn.qkv"), ("norm2", "mlp.fc1")):
            for part in ("weight", "bias"):
                found[f"blocks.{block}.{norm}.{part}"][::13] *= factor
            found[f"blocks.{block}.{reader}.weight"][:, ::13] /= factor
    return found


def test_equalised_channels_are_the_same_network(weights, images):
    """Outlying channels cost decibels, and powers of two per channel win them back; the float network is unchanged."""
    spread = outlying(weights, 8)
    ends, plain = {}, Measurement()
    digits(weights, images[:48], measure=plain)
    for equalise in (False, True):
        measure = Measurement()
        model = digits(spread, images[:48], equalise=equalise, measure=measure)
        ends[equalise] = measure.end["logit_sqnr"]
        np.testing.assert_allclose(measure.expected, plain.expected, atol=1e-4)
    assert ends[True] > ends[False] + 2
    assert ends[True] > plain.end["logit_sqnr"] - 1
    state = official_state(spread, images[:48], heads=2)
    gains = (
        model.tensors["blocks.0.norm1.bias"]
        - model_from_state(state, name="x", image=(1, 8, 8), mean=[0.5], std=[0.5], heads=2).tensors[
            "blocks.0.norm1.bias"
        ]
    )
    assert not gains.any()  # beta/gamma is what it was


def test_equalised_models_are_official_states(weights, images):
    """Exponents are whole powers of two of the gains, at most 8, and only where a linear reads the LayerNorm."""
    spread = outlying(weights, 8)
    build = Calibration(spread, images[:16].astype(np.float64), Recipe(equalise=True), FAMILIES["vit"])
    FAMILIES["vit"].build(build, Wanted(names=spread, image=(1, 8, 8), heads=2))
    for name in ("blocks.0.norm1", "blocks.2.norm2", "norm"):
        ratio = spread[f"{name}.weight"] / build.made[f"{name}.weight"]
        assert set(np.log2(ratio).tolist()) <= {0.0, 1.0, 2.0, 3.0}
    assert (spread["blocks.0.norm1.weight"] / build.made["blocks.0.norm1.weight"])[::13].min() > 1


def test_dead_channels_are_folded(weights, images):
    """Gains of zero or nearly so, whose offsets no integer bias holds: the next linear takes them; the same network."""
    dead = {name: array.copy() for name, array in weights.items()}
    dead["blocks.1.norm1.weight"][[3, 7]], dead["blocks.1.norm1.bias"][[3, 7]] = [0, 1e-9], [0.5, -0.7]
    dead["norm.weight"][5], dead["norm.bias"][5] = 1e-12, 2
    measure = Measurement()
    model = digits(dead, images[:48], measure=measure)
    assert measure.end["logit_sqnr"] > 25
    assert not model.tensors["blocks.1.norm1.bias"][[3, 7]].any()
    assert not model.tensors["blocks.1.attn.qkv.weight"][:, 3].any()
    # By hand: those channels out of the norms, what they add in the biases.
    by_hand = {name: array.copy() for name, array in dead.items()}
    for norm, reader, channels in (("blocks.1.norm1", "blocks.1.attn.qkv", [3, 7]), ("norm", "head", [5])):
        by_hand[f"{reader}.bias"] += by_hand[f"{reader}.weight"][:, channels] @ dead[f"{norm}.bias"][channels]
        by_hand[f"{reader}.weight"][:, channels] = 0
        by_hand[f"{norm}.bias"][channels], by_hand[f"{norm}.weight"][channels] = 0, 1
    other = Measurement()
    digits(by_hand, images[:48], measure=other)
    np.testing.assert_allclose(measure.expected, other.expected, atol=1e-4)


def test_dead_channels_that_nothing_can_take_are_refused():
    """Swin's patch embedding: its normalised tokens are the residual stream."""
    weights = dict(float_weights(SWIN))
    weights["patch_embed.norm.weight"] = np.zeros_like(weights["patch_embed.norm.weight"])
    pixels = normalise(architecture_images(SWIN, 2), *SWIN.statistics)
    with pytest.raises(ModelError, match=r"patch_embed.norm channel 0 needs .* beyond 34 bits: gamma 0\.0"):
        quantize(weights, pixels, name="x", mean=(0,) * 3, std=(1,) * 3)


@pytest.mark.parametrize(("macs", "calibrated", "held"), [(0, 9, 3), (5e10, 18, 6)])
def test_recipes_are_judged_on_images_that_are_held_back(tmp_path, capsys, monkeypatch, macs, calibrated, held):
    """Every fourth of all, or of twelve of a large network; the nearest is then made with all of them."""
    monkeypatch.setattr("firmware.cli.trials._COMPARED", macs)
    files = [str(DIGITS / "float.safetensors"), "--images", str(DIGITS / "calibration.npy"), "--count", "24"]
    sizes = ["--patch", "2", "--heads", "2", "--mean", "0.5", "--std", "0.5", "-o", str(tmp_path / "m.safetensors")]
    assert main(["quantize", *files, *sizes, "--report", str(tmp_path / "r.json")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"calibrated on {calibrated} images, by their outputs against the float network on {held} images" in said
    report = json.loads((tmp_path / "r.json").read_text())
    assert {(trial["calibrated"], trial["images"]) for trial in report["trials"]} == {(calibrated, held)}
    assert report["end_to_end"]["images"] == 24
    best = max(report["trials"], key=lambda trial: trial["logit_sqnr"])
    assert report["recipe"] == best["recipe"]
    # the same figure by hand: calibrated without them, computed with them
    pixels = np.load(DIGITS / "calibration.npy")[:24]
    some = np.linspace(0, 23, calibrated + held).astype(int)
    others, floats = some[3::4], Measurement()
    settings = {"name": "d", "patch": 2, "heads": 2, "mean": [0.5], "std": [0.5], "recipe": RECIPES[best["recipe"]]}
    used, judging = (normalise(pixels[part], [0.5], [0.5]) for part in (np.setdiff1d(some, others), others))
    weights = load_file(DIGITS / "float.safetensors")
    model = quantize(weights, used, **settings)
    quantize(weights, judging, **settings, measure=floats)  # what the float network gives
    found = golden.run(model, to_int8(pixels[others], model)) * model.logit_scale.astype(np.float64)
    assert best["logit_sqnr"] == pytest.approx(sqnr(floats.expected, found), abs=1e-3)


@pytest.mark.parametrize("verb", ["quantize", "import-ivit"])
def test_a_checkpoint_is_not_its_own_output(tmp_path, capsys, verb, weights, images):
    """By whatever name; it stays what it was."""
    checkpoint = tmp_path / "c.safetensors"
    if verb == "quantize":
        checkpoint.write_bytes((DIGITS / "float.safetensors").read_bytes())
        options = ["--images", str(DIGITS / "calibration.npy"), "--mean", "0.5", "--std", "0.5", "--count", "4"]
    else:
        save_file(official_state(weights, images[:8], patch=2, heads=2), checkpoint)
        options = []
    (tmp_path / "other").symlink_to(checkpoint)
    before = checkpoint.read_bytes()
    for name in ("c.safetensors", "other"):
        line = [verb, str(checkpoint), *options, "--patch", "2", "--heads", "2", "-o", str(tmp_path / name)]
        assert main(line) == 2
        assert f"-o {tmp_path / name} is the checkpoint itself" in capsys.readouterr().err
    assert checkpoint.read_bytes() == before

"""The quantizer: I-ViT's rules, the shipped example reproduced byte for byte, and refusals in one sentence."""

import math
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from firmware.ivit import dyadic, model_from_state
from firmware.make_model import architecture, float_weights
from firmware.make_model import images as architecture_images
from firmware.model_file import load_model, save_model
from firmware.preprocess import normalise, to_int8
from firmware.quantize import RANGES, official_state, quantize
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
    settings = {"name": "digits", "patch": 2, "heads": 2, "mean": [0.5], "std": [0.5], **options}
    return quantize(weights, images, **settings)


def accuracy(model):
    logits = golden.run(model, to_int8(np.load(DIGITS / "images.npy"), model)) * model.logit_scale.astype(np.float64)
    return (logits.argmax(1) == np.load(DIGITS / "labels.npy")).mean(), logits


def test_shipped_model_is_reproduced(weights, images, tmp_path):
    save_model(digits(weights, images), tmp_path / "digits.safetensors")
    assert (tmp_path / "digits.safetensors").read_bytes() == (DIGITS / "digits.safetensors").read_bytes()


def test_shipped_model_is_as_accurate_as_the_float_one():
    share, logits = accuracy(load_model(DIGITS / "digits.safetensors"))
    expected = np.load(DIGITS / "float_logits.npy")
    assert share >= (expected.argmax(1) == np.load(DIGITS / "labels.npy")).mean() - 0.01
    assert (logits.argmax(1) == expected.argmax(1)).mean() > 0.97


@pytest.mark.parametrize("ranges", RANGES)
@pytest.mark.parametrize("bits", [8, 16])
def test_every_option_keeps_the_accuracy(weights, images, ranges, bits):
    share, _ = accuracy(digits(weights, images, ranges=ranges, attention_bits=bits))
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
        (lambda w: w["norm.weight"].__setitem__(5, 1e-12), "norm channel 5 needs an integer bias beyond 34 bits"),
        (lambda w: w.update(pos_embed=w["pos_embed"][:, :9]), r"pos_embed must have shape \[1, 17, 64\]"),
    ],
)
def test_refusals(weights, images, change, message):
    broken = {name: array.copy() for name, array in weights.items()}
    change(broken)
    with pytest.raises(ModelError, match=message):
        digits(broken, images[:16])


def test_unknown_ranges(weights, images):
    with pytest.raises(ModelError, match="ranges must be one of ema, minmax, percentile, not 'best'"):
        digits(weights, images[:16], ranges="best")


# --- Swin ---

SWIN = architecture("swin_tiny", img_size=32, window=4, dim=16, depth=(2, 2), heads=(1, 2), classes=7)


@pytest.fixture(scope="module")
def swin_weights():
    return float_weights(SWIN, seed=5)


@pytest.fixture(scope="module")
def swin_images():
    return normalise(architecture_images(SWIN, 24, seed=5), *SWIN.statistics)


def swin(weights, images, **options):
    mean, std = SWIN.statistics
    return quantize(weights, images, name="swin", mean=mean, std=std, **options)


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

"""The quantizer: I-ViT's rules, the shipped example reproduced byte for byte, and refusals in one sentence."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from firmware.ivit import dyadic
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

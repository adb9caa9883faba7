"""The golden model equals the official modules bit for bit: every operator of two models, logits of all images."""

from pathlib import Path

import numpy as np
import pytest

from firmware.ivit import model_from_state
from hw.spec import arith
from sim import golden

DATA = Path(__file__).parents[1] / "data"
MODELS = ("small_vit_a", "small_vit_t")


def load(name, part):
    with np.load(DATA / name / f"{part}.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module", params=MODELS)
def case(request):
    model = model_from_state(
        load(request.param, "state"), name=request.param, patch=8, heads=2, image=(3, 32, 32),
        mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225),
    )  # fmt: skip
    return request.param, model


def official_order(name, value, shape):
    """The official modules keep the convolution's output as an image and the context's by head."""
    if name == "patch_embed.proj":
        return value.transpose(0, 2, 1).reshape(shape)
    if name.endswith("matmul_2"):
        batch, heads, tokens, head = shape
        return value.reshape(batch, tokens, heads, head).transpose(0, 2, 1, 3)
    return value


def test_every_operator(case):
    name, model = case
    expected, trace = load(name, "trace"), {}
    golden.run(model, load(name, "images")["images"][:1], trace)
    assert set(trace) - set(expected) == {"qact_input", "cls_token", "class_token"}  # no official modules
    assert len(expected) == 49
    for key, value in expected.items():
        got = official_order(key, trace[key], value.shape)
        assert got.shape == value.shape, key
        np.testing.assert_array_equal(got, value, err_msg=key)


def test_logits_of_all_images(case):
    name, model = case
    expected = load(name, "images")
    logits = golden.run(model, expected["images"])
    assert logits.dtype == np.int32
    np.testing.assert_array_equal(logits, expected["acc_exact"])
    np.testing.assert_array_equal(model.logit_scale, expected["logit_scale"])
    np.testing.assert_array_equal((logits * model.logit_scale).argmax(axis=1), expected["argmax_exact"])


def test_batches_do_not_mix(case):
    name, model = case
    images = load(name, "images")["images"][:3]
    one_by_one = np.concatenate([golden.run(model, image[None]) for image in images])
    np.testing.assert_array_equal(golden.run(model, images), one_by_one)


def test_eight_bit_attention(case):
    """The paper's deployment: other probabilities, other context factors, valid results."""
    name, model = case
    narrow = model_from_state(
        load(name, "state"), name=name, patch=8, heads=2, image=(3, 32, 32), attention_bits=8,
        mean=model.mean, std=model.std,
    )  # fmt: skip
    images, trace = load(name, "images")["images"], {}
    wide_logits, logits = golden.run(model, images), golden.run(narrow, images, trace)
    softmax = trace["blocks.0.attn.int_softmax"]
    assert softmax.max() <= 127
    scores = trace["blocks.0.attn.qact_attn1"]
    i0 = next(node for node in narrow.nodes if node.op == "shiftmax").attributes["i0"]
    np.testing.assert_array_equal(softmax, arith.shiftmax(scores, i0, 8))
    assert not np.array_equal(wide_logits, logits)
    same = (wide_logits * model.logit_scale).argmax(1) == (logits * model.logit_scale).argmax(1)
    assert same.mean() > 0.8


def test_images_are_checked(case):
    _, model = case
    with pytest.raises(ValueError, match="int8"):
        golden.run(model, np.zeros((1, 3, 32, 32), np.uint8))
    with pytest.raises(ValueError, match=r"\[B, 3, 32, 32\]"):
        golden.run(model, np.zeros((1, 3, 32, 16), np.int8))

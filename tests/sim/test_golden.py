"""The golden model equals the official modules bit for bit: every operator of three models, logits of all images."""

from pathlib import Path

import numpy as np
import pytest

from firmware.ivit import model_from_state
from hw.spec import arith
from hw.spec.operators import Node, evaluate
from sim import golden

DATA = Path(__file__).parents[1] / "data"
SIZES = {
    "small_vit_a": {"patch": 8, "heads": 2, "image": (3, 32, 32)},
    "small_vit_t": {"patch": 8, "heads": 2, "image": (3, 32, 32)},
    "small_swin_a": {"image": (3, 56, 56)},
}


def load(name, part):
    with np.load(DATA / name / f"{part}.npz") as arrays:
        return dict(arrays)


_NO_MODULES = {"concat_cls", "class_token", "window_partition", "window_reverse", "merge", "mean"}


def imported(name, **options):
    statistics = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    return model_from_state(load(name, "state"), name=name, **SIZES[name], **statistics, **options)


@pytest.fixture(scope="module", params=SIZES)
def case(request):
    return request.param, imported(request.param)


def official_order(name, value, shape):
    """The official modules keep the convolution's output as an image and the context's by head, and windows as batch.

    The average pool's requantization has a last axis of 1 there.
    """
    if name == "patch_embed.proj":
        return value.transpose(0, 2, 1).reshape(shape)
    if name.endswith("matmul_2"):
        windows, heads, tokens, head = shape
        return value.reshape(windows, tokens, heads, head).transpose(0, 2, 1, 3)
    windowed = name.startswith("layers.") and ".attn." in name
    if windowed or (name == "qact3" and shape[-1] == 1):
        assert value.size == np.prod(shape)
        return value.reshape(shape)
    return value


def test_every_operator(case):
    name, model = case
    expected, trace = load(name, "trace"), {}
    golden.run(model, load(name, "images")["images"][:1], trace)
    ours = {node.name for node in model.nodes if node.op in _NO_MODULES or node.name.endswith("attn_mask")}
    assert set(trace) - set(expected) - {"qact_input"} == ours
    assert len(expected) == (106 if "swin" in name else 49)
    for key, value in expected.items():
        if key.endswith("qact_table"):  # the official table is gathered into a bias after its quantization
            index = load(name, "state")[key.replace("qact_table", "relative_position_index")]
            value = value[index].transpose(2, 0, 1)[None]
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


@pytest.mark.parametrize("name", ["small_vit_a", "small_vit_t"])
def test_eight_bit_attention(name):
    """The paper's deployment: other probabilities, other context factors, valid results."""
    model, narrow = imported(name), imported(name, attention_bits=8)
    images, trace = load(name, "images")["images"], {}
    wide_logits, logits = golden.run(model, images), golden.run(narrow, images, trace)
    softmax = trace["blocks.0.attn.int_softmax"]
    assert softmax.max() <= 127
    scores = trace["blocks.0.attn.qact_attn1"]
    i0 = narrow.tensors["blocks.0.attn.int_softmax.i0"]
    np.testing.assert_array_equal(softmax, arith.shiftmax(scores, i0, 8))
    assert not np.array_equal(wide_logits, logits)
    same = (wide_logits * model.logit_scale).argmax(1) == (logits * model.logit_scale).argmax(1)
    assert same.mean() > 0.8


def test_images_are_checked(case):
    _, model = case
    side = model.image[1]
    with pytest.raises(ValueError, match="int8"):
        golden.run(model, np.zeros((1, *model.image), np.uint8))
    with pytest.raises(ValueError, match=rf"\[B, 3, {side}, {side}\]"):
        golden.run(model, np.zeros((1, 3, side, 16), np.int8))


def test_windows_are_the_published_ones():
    """Against torch-like indexing, token by token, on a grid that is not square."""
    height, width, window, shift = 4, 6, 2, 1
    x = np.arange(2 * height * width * 3).reshape(2, height * width, 3)
    attributes = {"height": height, "width": width, "window": window, "shift": shift}
    got = evaluate({}, Node("w", "window_partition", ("x",), attributes), [x])
    n = 0
    for top in range(0, height, window):
        for left in range(0, width, window):
            for y in range(top, top + window):
                for x0 in range(left, left + window):
                    source = ((y + shift) % height) * width + (x0 + shift) % width
                    np.testing.assert_array_equal(got[:, n], x[:, source])
                    n += 1
    np.testing.assert_array_equal(evaluate({}, Node("w", "window_reverse", ("x",), attributes), [got]), x)

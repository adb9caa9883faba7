"""Models of known architectures: shapes, statistics, repeatability, refusals."""

import numpy as np
import pytest

from firmware.__main__ import main
from firmware.architectures import ARCHITECTURES, architecture
from firmware.errors import UserError
from firmware.families.vit.pattern import recognise
from firmware.make_model import float_weights, images, make_model
from firmware.model_file import load_model
from firmware.preprocess import to_int8
from sim import golden
from tests.support.swin import SHAPES

MACS = {"deit_tiny": 1.2537e9, "deit_small": 4.599e9, "deit_base": 17.56e9}  # by direct count, biases not included
SMALL_SWIN = {"img_size": 64, "window": 4, "dim": 32, "depth": (2, 2), "heads": (1, 2), "classes": 10}


@pytest.fixture(scope="module")
def tiny():
    """DeiT-T with three of its twelve blocks."""
    return architecture("deit_tiny", depth=3)


@pytest.fixture(scope="module")
def model(tiny):
    return make_model(tiny, seed=3)


@pytest.mark.parametrize("name", MACS)
def test_shapes_are_the_published_ones(name):
    shape = architecture(name)
    tokens, dim, (depth,), (heads,) = shape.tokens, shape.dim, shape.depths, shape.heads
    block = tokens * 12 * dim * dim + 2 * tokens * tokens * dim
    macs = (tokens - 1) * 3 * shape.patch**2 * dim + depth * block + dim * shape.classes
    assert macs == pytest.approx(MACS[name], rel=1e-3)
    assert dim // heads == 64


def test_macs_of_a_model_are_the_formula(tiny, model):
    tokens, dim = tiny.tokens, tiny.dim
    block = tokens * 12 * dim * dim + 2 * tokens * tokens * dim
    assert model.macs == (tokens - 1) * 3 * tiny.patch**2 * dim + 3 * block + dim * tiny.classes


@pytest.mark.parametrize("name", SHAPES)
def test_swins_are_the_published_ones(name):
    shape = architecture(name)
    assert {"dim": shape.dim, "depths": shape.depths, "heads": shape.heads} == SHAPES[name]
    assert (shape.patch, shape.window, shape.img_size, shape.classes, shape.tokens) == (4, 7, 224, 1000, 3136)


def test_every_architecture_has_a_unique_short_name():
    for name, shape in ARCHITECTURES.items():
        assert architecture(name.rpartition("_")[0]) == shape
        assert architecture(name.partition("_patch")[0]).img_size == 224


def test_checkpoint_has_timm_names_and_shapes(tiny):
    weights = float_weights(tiny)
    assert weights["patch_embed.proj.weight"].shape == (192, 3, 16, 16)
    assert weights["pos_embed"].shape == (1, 197, 192)
    assert weights["blocks.2.attn.qkv.weight"].shape == (576, 192)
    assert weights["blocks.2.mlp.fc1.weight"].shape == (768, 192)
    assert weights["head.bias"].shape == (1000,)
    assert all(value.dtype == np.float32 for value in weights.values())


def test_swin_checkpoint_has_timm_names_and_shapes():
    """timm counts a merging to the stage that it opens, and calls the classifier head.fc."""
    weights = float_weights(architecture("swin_tiny"))
    shapes = {name: value.shape for name, value in weights.items()}
    assert shapes["patch_embed.proj.weight"] == (96, 3, 4, 4)
    assert shapes["patch_embed.norm.bias"] == (96,)
    assert shapes["layers.0.blocks.1.attn.qkv.weight"] == (288, 96)
    assert shapes["layers.3.blocks.1.attn.relative_position_bias_table"] == (169, 24)
    assert shapes["layers.1.downsample.norm.weight"] == (384,)
    assert shapes["layers.3.downsample.reduction.weight"] == (768, 1536)
    assert shapes["layers.2.blocks.5.mlp.fc1.weight"] == (1536, 384)
    assert shapes["head.fc.weight"] == (1000, 768)
    assert not any(name.startswith("layers.0.downsample") or "reduction.bias" in name for name in shapes)
    assert sum(value.size for value in weights.values()) == 28_288_354  # as published


def test_norms_are_like_trained_ones(tiny):
    weights = float_weights(tiny)
    gamma = np.concatenate([value for name, value in weights.items() if "norm" in name and name.endswith("weight")])
    beta = np.concatenate([value for name, value in weights.items() if "norm" in name and name.endswith("bias")])
    assert np.abs(gamma).min() >= 0.019
    assert np.abs(gamma).max() <= 1.41
    assert 0.005 < (gamma < 0).mean() < 0.04
    assert 0.17 < beta.std() < 0.23


@pytest.fixture(scope="module")
def small_swin():
    return make_model(architecture("swin_tiny", **SMALL_SWIN), seed=3)


@pytest.mark.parametrize("made", ["model", "small_swin"])
def test_activations_are_sane(request, made):
    """Integers use their range, and nothing saturates but the tails."""
    model, trace = request.getfixturevalue(made), {}
    shape = architecture("deit_tiny", img_size=model.image[1])
    golden.run(model, to_int8(images(shape, 1, seed=77), model), trace)
    for node in model.nodes:
        if node.op in {"requantize", "add"}:
            limit = 1 << (node.attributes["bits"] - 1)
            values = trace[node.name]
            assert values.std() > limit / 40, node.name
            assert np.count_nonzero(np.abs(values) >= limit - 1) <= max(0.01 * values.size, 2), node.name
        if node.op in {"shiftmax", "shift_gelu"}:
            i0 = node.attributes["i0"] if node.op == "shift_gelu" else model.tensors[f"{node.name}.i0"]
            assert 6 <= i0 <= 40, node.name


def test_photographs_have_smooth_spectra(tiny):
    picture = images(tiny, 1, seed=5)[0].astype(float)
    step = np.abs(np.diff(picture, axis=2)).mean()
    assert step < 0.5 * picture.std()
    assert picture.std() > 30
    assert not np.array_equal(images(tiny, 1, seed=5), images(tiny, 1, seed=6))


def test_swin_through_the_command_line(tmp_path):
    """One number per stage; 8-bit attention unless asked otherwise."""
    changes = ["--img-size", "32", "--window", "4", "--dim", "16", "--depth", "2", "1", "--heads", "1", "2"]
    command = ["make-model", "swin_tiny", *changes, "--classes", "5", "-o", str(tmp_path / "m")]
    assert main(command) == 0
    model = load_model(tmp_path / "m")
    assert (model.image, model.classes, model.patch) == ((3, 32, 32), 5, 4)
    softmax = [node for node in model.nodes if node.op == "shiftmax"]
    assert [node.attributes["bits"] for node in softmax] == [8, 8, 8]
    assert [len(node.inputs) for node in softmax] == [1, 2, 1]
    assert main([*command, "--attention-bits", "16"]) == 0
    assert {node.attributes["bits"] for node in load_model(tmp_path / "m").nodes if node.op == "shiftmax"} == {16}


def test_same_seed_same_file(tmp_path):
    """Through the command line, with every override."""
    changes = ["--img-size", "32", "--patch", "8", "--dim", "64", "--depth", "2", "--heads", "4", "--classes", "10"]
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        command = ["make-model", "deit_tiny_patch16_224", "--seed", str(seed), *changes, "--attention-bits", "8"]
        assert main([*command, "--images", str(tmp_path / f"{name}.npy"), "-o", str(tmp_path / name)]) == 0
    first, second, other = ((tmp_path / name).read_bytes() for name in "abc")
    assert first == second != other
    model = load_model(tmp_path / "a")
    roles = recognise(model)
    assert (model.image, roles.dim, roles.depth, roles.heads, model.classes) == ((3, 32, 32), 64, 2, 4, 10)
    assert {node.attributes["bits"] for node in model.nodes if node.op == "shiftmax"} == {8}
    assert np.load(tmp_path / "a.npy").shape == (2, 3, 32, 32)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("resnet50", {}, "there is no architecture resnet50; known: deit_tiny_patch16_224"),
        ("deit", {}, "there is no architecture deit; "),
        ("deit_tiny", {"patch": 15}, "the image size 224 is no multiple of the patch size 15"),
        ("deit_tiny", {"heads": 5}, "the width 192 is no multiple of the number of heads 5"),
        ("deit_tiny", {"depth": 0}, "depth must be at least 1, not 0"),
        ("deit_tiny", {"depth": (2, 2), "heads": (2, 2)}, "depth and heads must be a number per stage of deit_tiny"),
        ("swin_tiny", {"depth": (2, 2)}, "must be a number per stage of swin_tiny_.*, not 2 2 and 3 6 12 24"),
        ("deit_tiny", {"window": 7}, "deit_tiny_patch16_224 has no window that could be changed"),
        ("swin_tiny", {"window": 0}, "window must be at least 1, not 0"),
        ("swin_tiny", {"heads": (3, 6, 12, 23)}, "the width 768 is no multiple of the number of heads 23"),
        ("swin_tiny", {"img_size": 240}, "windows of 7 x 7 do not divide the 60 x 60 tokens of stage 0"),
        ("swin_tiny", {"img_size": 84}, "the 21 x 21 tokens of stage 0 cannot be merged two by two"),
    ],
)
def test_impossible_shapes_are_refused(name, changes, message):
    with pytest.raises(UserError, match=message):
        architecture(name, **changes)


def test_command_line_says_what_is_wrong(tmp_path, capsys):
    assert main(["make-model", "deit_tiny", "--calibration", "0", "-o", str(tmp_path / "x")]) == 2
    assert capsys.readouterr().err == "error: --calibration must be from 1 to 256 and --seed at least 0\n"

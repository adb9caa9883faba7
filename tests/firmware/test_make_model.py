"""Models of known architectures: shapes, statistics, repeatability, refusals."""

import numpy as np
import pytest

from firmware.__main__ import main
from firmware.compiler.pattern import recognise
from firmware.errors import UserError
from firmware.make_model import ARCHITECTURES, architecture, float_weights, images, make_model
from firmware.model_file import load_model
from firmware.preprocess import to_int8
from sim import golden

MACS = {"deit_tiny": 1.2537e9, "deit_small": 4.599e9, "deit_base": 17.56e9}  # by direct count, biases not included


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
    tokens, dim = shape.tokens, shape.dim
    block = tokens * (4 * dim * dim + 2 * dim * shape.hidden) + 2 * tokens * tokens * dim
    macs = (tokens - 1) * 3 * shape.patch**2 * dim + shape.depth * block + dim * shape.classes
    assert macs == pytest.approx(MACS[name], rel=1e-3)
    assert dim // shape.heads == 64


def test_every_architecture_has_a_unique_short_name():
    for name in ARCHITECTURES:
        assert architecture(name) == architecture(name.partition("_patch")[0])


def test_checkpoint_has_timm_names_and_shapes(tiny):
    weights = float_weights(tiny)
    assert weights["patch_embed.proj.weight"].shape == (192, 3, 16, 16)
    assert weights["pos_embed"].shape == (1, 197, 192)
    assert weights["blocks.2.attn.qkv.weight"].shape == (576, 192)
    assert weights["blocks.2.mlp.fc1.weight"].shape == (768, 192)
    assert weights["head.bias"].shape == (1000,)
    assert all(value.dtype == np.float32 for value in weights.values())


def test_norms_are_like_trained_ones(tiny):
    weights = float_weights(tiny)
    gamma = np.concatenate([value for name, value in weights.items() if "norm" in name and name.endswith("weight")])
    beta = np.concatenate([value for name, value in weights.items() if "norm" in name and name.endswith("bias")])
    assert np.abs(gamma).min() >= 0.019
    assert np.abs(gamma).max() <= 1.41
    assert 0.005 < (gamma < 0).mean() < 0.04
    assert 0.17 < beta.std() < 0.23


def test_activations_are_sane(model):
    """Integers use their range, and nothing saturates but the tails."""
    trace = {}
    golden.run(model, to_int8(images(architecture("deit_tiny"), 1, seed=77), model), trace)
    for node in model.nodes:
        if node.op in {"requantize", "add"}:
            limit = 1 << (node.attributes["bits"] - 1)
            values = trace[node.name]
            assert values.std() > limit / 40, node.name
            assert (np.abs(values) >= limit - 1).mean() < 0.01, node.name
        if node.op in {"shiftmax", "shift_gelu"}:
            assert 6 <= node.attributes["i0"] <= 40, node.name


def test_photographs_have_smooth_spectra(tiny):
    picture = images(tiny, 1, seed=5)[0].astype(float)
    step = np.abs(np.diff(picture, axis=2)).mean()
    assert step < 0.5 * picture.std()
    assert picture.std() > 30
    assert not np.array_equal(images(tiny, 1, seed=5), images(tiny, 1, seed=6))


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
    ],
)
def test_impossible_shapes_are_refused(name, changes, message):
    with pytest.raises(UserError, match=message):
        architecture(name, **changes)


def test_command_line_says_what_is_wrong(tmp_path, capsys):
    assert main(["make-model", "deit_tiny", "--calibration", "0", "-o", str(tmp_path / "x")]) == 2
    assert capsys.readouterr().err == "error: --calibration must be from 1 to 256 and --seed at least 0\n"

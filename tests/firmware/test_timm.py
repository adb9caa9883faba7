"""timm's networks: our float reference is theirs, and they quantize and run, from the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from firmware.__main__ import main
from firmware.checkpoint import load_checkpoint
from firmware.model_file import load_model
from firmware.preprocess import to_int8
from firmware.quantizer import Measurement, Recipe, quantize
from firmware.quantizer.measure import sqnr
from sim import golden
from tests.support.seeded import pattern, weight

DATA = Path(__file__).parents[1] / "data" / "timm"
OPTIONS = {
    "vit": ["--heads", "2", "--img-size", "32", "--mean", "0.5", "--std", "0.5"],
    "swin": ["--img-size", "56", "--depth", "2", "2", "--heads", "1", "2"],
}
STATISTICS = {"mean": (0, 0, 0), "std": (1, 1, 1)}


def stored(name):
    with np.load(DATA / f"{name}.npz") as arrays:
        return (
            load_checkpoint(DATA / f"{name}.safetensors").tensors,
            arrays["images"].astype(np.float32),
            arrays["logits"],
        )


def measured(weights, images, **options):
    measure = Measurement()
    recipe = Recipe(ranges=options.pop("ranges", "ema"))
    model = quantize(weights, images, name="test", heads=2, **STATISTICS, recipe=recipe, measure=measure, **options)
    return model, measure


@pytest.mark.parametrize("name", OPTIONS)
def test_float_reference_is_timm(name):
    """Logits of the float network in step with the graph are those that timm computed, to float32's rounding."""
    weights, images, expected = stored(name)
    _, measure = measured(weights, images)
    np.testing.assert_allclose(measure.expected, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", OPTIONS)
def test_measurement_says_what_the_integer_network_computes(name):
    """The report's end is the difference between the model's logits and timm's; its rows name every quantizer."""
    weights, images, expected = stored(name)
    model, measure = measured(weights, images)
    logits = (
        golden.run(model, np.clip(np.rint(images / model.input_scale), -128, 127).astype(np.int8)) * model.logit_scale
    )
    noise = 10 * np.log10(np.square(expected).sum() / np.square(expected - logits).sum())
    assert measure.end["logit_sqnr"] == pytest.approx(noise, abs=0.01)
    assert measure.end["same_class"] == (logits.argmax(1) == expected.argmax(1)).mean()
    assert noise > 15
    rows = {row.name: row for row in measure.rows}
    quantizers = {node.name for node in model.nodes if node.op in {"input", "requantize", "add"}}
    assert quantizers == {row.name for row in measure.rows if row.kind == "activation"}
    assert {node.name for node in model.nodes if node.op in {"linear", "patch_embed"}} == rows.keys() - quantizers
    for row in measure.rows:
        assert 0 <= row.saturated < 0.01, row
        assert row.sqnr > 10, row
        assert row.own_sqnr > 20, row
    blocks = [row for row in measure.rows if row.name.endswith("qact4") and row.kind == "activation"]
    assert all(row.own_sqnr > 60 and row.bits == 16 for row in blocks if "attn" not in row.name)


def test_reports_are_json_whatever_the_noise():
    """No noise and no signal are null, not a number that JSON has not."""
    assert sqnr(np.ones(3), np.ones(3)) == np.inf
    assert sqnr(np.zeros(3), np.ones(3)) == -np.inf
    assert sqnr(np.full(4, 10.0), np.full(4, 9.0)) == pytest.approx(20)
    measure = Measurement()
    measure.weight("w", np.ones((2, 2)), np.ones((2, 2), np.int8), np.ones(2, np.float32))
    measure.end = {"logit_sqnr": float("inf")}
    report = json.loads(json.dumps(measure.report(), allow_nan=False))
    assert report["end_to_end"]["logit_sqnr"] is report["quantizers"][0]["sqnr"] is None


@pytest.mark.parametrize("name", OPTIONS)
def test_command_line(name, tmp_path, capsys):
    """Checkpoint to model, report and run, on pixels."""
    size = int(OPTIONS[name][OPTIONS[name].index("--img-size") + 1])
    np.save(tmp_path / "images.npy", np.random.default_rng(0).integers(0, 256, (4, 3, size, size), np.uint8))
    files = ["--calibrate", str(tmp_path / "images.npy"), "--report", str(tmp_path / "report.json")]
    command = ["quantize", str(DATA / f"{name}.safetensors"), *files, *OPTIONS[name], "-o", str(tmp_path / "model")]
    assert main(command) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["end_to_end"]["images"] == 4
    assert {"name", "bits", "scale", "saturated", "own_sqnr", "sqnr"} <= report["quantizers"][0].keys()
    assert "same class as in float" in capsys.readouterr().out
    model = load_model(tmp_path / "model")
    assert {node.attributes["bits"] for node in model.nodes if node.op == "shiftmax"} == {16 if name == "vit" else 8}
    run = ["run", str(tmp_path / "model"), "--images", str(tmp_path / "images.npy"), "--device", "golden"]
    assert main([*run, "--logits", str(tmp_path / "logits.npy")]) == 0
    logits = np.load(tmp_path / "logits.npy")
    np.testing.assert_array_equal(logits, golden.run(model, to_int8(np.load(tmp_path / "images.npy"), model)))


@pytest.mark.parametrize("arch", ["deit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_published_sizes(arch, tmp_path):
    """From the names that timm gives its tensors to logits that are timm's; weights by tests.support.seeded."""
    with np.load(DATA / "sizes.npz") as arrays:
        shapes, expected = json.loads(str(arrays[f"{arch}.tensors"])), arrays[f"{arch}.logits"]
    save_file({name: weight(name, shape) for name, shape in shapes.items()}, tmp_path / "float.safetensors")
    np.save(tmp_path / "images.npy", pattern(224, 224).transpose(2, 0, 1)[None])
    files = [str(tmp_path / "float.safetensors"), "--calibrate", str(tmp_path / "images.npy"), "--arch", arch]
    files += ["--recipe", "mse"]
    assert main(["quantize", *files, "-o", str(tmp_path / "model"), "--report", str(tmp_path / "report.json")]) == 0
    assert json.loads((tmp_path / "report.json").read_text())["end_to_end"]["logit_cosine"] > 0.97
    model = load_model(tmp_path / "model")
    logits = golden.run(model, to_int8(np.load(tmp_path / "images.npy"), model)) * model.logit_scale
    assert np.corrcoef(expected.ravel(), logits.ravel())[0, 1] > 0.97


def test_command_line_refuses(tmp_path, capsys):
    """What it cannot know it does not guess, and what is no float network of ours it does not quantize."""
    images = tmp_path / "images.npy"
    np.save(images, np.zeros((2, 3, 32, 32), np.int8))
    official = DATA.parent / "small_vit_t" / "state"

    def refused(checkpoint, *options):
        assert main(["quantize", str(checkpoint), "--calibrate", str(images), *options, "-o", str(tmp_path / "m")]) == 2
        assert not (tmp_path / "m").exists()
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        return said

    vit = DATA / "vit.safetensors"
    assert "there is no directory" in refused(vit, "--report", str(tmp_path / "no" / "report.json"))
    assert "must be uint8 pixels, not int8" in refused(vit, "--heads", "2")
    np.save(images, np.zeros((2, 3, 40, 40), np.uint8))
    assert "must hold images [n, 3, 32, 32], not [2, 3, 40, 40]" in refused(vit, "--heads", "2")
    assert "the width 64 is no multiple of the number of heads 3" in refused(vit, "--heads", "3")
    assert "has width 64, but deit_tiny wants 192" in refused(vit, "--arch", "deit_tiny")
    assert "there is no image file or folder" in refused(vit, "--images", str(tmp_path / "none"))
    assert "--mean wants 1 or 3 numbers, not 2" in refused(vit, "--mean", "0.5", "0.5")
    assert "--std must not be 0" in refused(vit, "--std", "0")
    assert "--crop must be above 0 and at most 1, not 1.5" in refused(vit, "--crop", "1.5")
    assert "there is no checkpoint" in refused(official)
    np.save(images, np.zeros((2, 3, 32, 32), np.uint8))
    (tmp_path / "names").write_text("cat\ndog\n")
    assert "names must name 10 classes, a line each, not 2" in refused(vit, "--labels", str(tmp_path / "names"))
    assert "must be a text file" in refused(vit, "--labels", str(vit))


def edited(name, index, value):
    def apply(weights):
        weights[name] = weights[name].copy()
        weights[name][index] = value

    return apply


@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        ("vit", lambda w: w.pop("blocks.1.mlp.fc2.weight"), "tensor blocks.1.mlp.fc2.weight is missing"),
        ("vit", lambda w: w.pop("norm.bias"), "tensor norm.bias is missing from the checkpoint"),
        ("vit", lambda w: w.update({"blocks.0.ls1.gamma": w["norm.bias"]}), "tensor blocks.1.ls1.gamma is missing"),
        ("vit", lambda w: w.update({"reg_token": w["cls_token"][..., 1:]}), "reg_token must have shape [1, any, 64]"),
        ("vit", lambda w: w.update({"prompt": w["cls_token"]}), "but prompt is none of them"),
        ("vit", edited("blocks.0.attn.qkv.weight", (5, 6), np.nan), "attn.qkv.weight contains NaN or infinity"),
        ("vit", edited("pos_embed", (0, 3, 4), np.inf), "pos_embed contains NaN or infinity"),
        ("vit", lambda w: w.update({"head.bias": np.zeros(9, np.float32)}), "head.bias must have shape [10], not [9]"),
        ("vit", lambda w: w.update({"norm.bias": np.zeros(9, np.float32)}), "norm.bias must have shape [64], not [9]"),
        ("vit", lambda w: w.update({"pos_embed": w["pos_embed"][:, 2:]}), "a square of patches, not of 15"),
        ("swin", lambda w: w.pop("layers.1.downsample.reduction.weight"), "downsample.reduction.weight is missing"),
        ("swin", edited("patch_embed.norm.weight", 3, 0), "patch_embed.norm channel 3 needs an integer bias beyond"),
        ("swin", edited("layers.0.blocks.1.attn.relative_position_bias_table", (0, 0), np.nan), "contains NaN"),
    ],
)  # fmt: skip
def test_bad_float_checkpoints_are_refused(name, edit, message, tmp_path, capsys):
    weights = load_checkpoint(DATA / f"{name}.safetensors").tensors
    edit(weights)
    save_file({key: np.ascontiguousarray(value) for key, value in weights.items()}, tmp_path / "bad.safetensors")
    size = OPTIONS[name][OPTIONS[name].index("--img-size") + 1]
    np.save(tmp_path / "images.npy", np.random.default_rng(0).integers(0, 256, (1, 3, int(size), int(size)), np.uint8))
    files = [
        str(tmp_path / "bad.safetensors"),
        "--calibrate",
        str(tmp_path / "images.npy"),
        "-o",
        str(tmp_path / "model"),
    ]
    assert main(["quantize", *files, *OPTIONS[name]]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert not (tmp_path / "model").exists()


def test_twins_must_be_told_apart(tmp_path, capsys):
    """DeiT-B and ViT-B have the same tensors, but other pixel statistics."""
    shapes = {"patch_embed.proj.weight": (768, 3, 16, 16), "head.weight": (10, 768), "pos_embed": (1, 197, 768)}
    shapes |= {f"blocks.{block}.norm1.bias": (768,) for block in range(12)}
    weights = {key: np.zeros(shape, np.float32) for key, shape in shapes.items()}
    save_file(weights, tmp_path / "x.safetensors")
    np.save(tmp_path / "images.npy", np.zeros((1, 3, 224, 224), np.uint8))
    command = ["quantize", str(tmp_path / "x.safetensors"), "--calibrate", str(tmp_path / "images.npy"), "-o", "none"]
    assert main(command) == 2
    assert "deit_base_patch16_224 and vit_base_patch16_224 have the same tensors" in capsys.readouterr().err
    assert main([*command, "--arch", "vit_base"]) == 2
    assert "tensor cls_token is missing from the state" in capsys.readouterr().err

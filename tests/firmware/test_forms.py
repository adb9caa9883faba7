"""Files in the forms that people have, from the command line to the integers: the same network, or one sentence."""

import json

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from firmware.__main__ import main
from firmware.architectures import architecture
from firmware.compiler import compile_model
from firmware.families import official_tensors
from firmware.make_model import make_model
from firmware.model_file import load_model
from hw.boards.registry import BOARDS
from sim import golden
from tests.firmware.test_compiler import execute, images_for
from tests.firmware.test_import_ivit import header_and
from tests.firmware.test_preprocess import DIGITS
from tests.firmware.test_variants import hugging_face, logits_of, pixels, quantized, stored, with_distillation
from tests.support.optional import optional

ARTY = BOARDS["arty_a7"].config


@pytest.fixture
def quantize(tmp_path, capsys):
    """Quantizes a file of the stored network, or is refused; what was printed, in one line, or the refusal."""
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), np.uint8))

    def run(path, *options, status=0):
        command = ["quantize", str(path), "--calibrate", str(tmp_path / "x.npy"), "--heads", "2", "--recipe", "mse"]
        assert main([*command, "-o", str(tmp_path / "m"), *options]) == status
        said = capsys.readouterr()
        return f"{said.out} {said.err}".replace("\n", " ") if not status else said.err

    return run


def rounded(weights):
    """Of bfloat16's precision, float32."""
    return {name: (w.view(np.uint32) & 0xFFFF0000).view(np.float32) for name, w in weights.items()}


def bfloat16(weights):
    return header_and({
        name: ("BF16", list(w.shape), (w.view(np.uint32) >> 16).astype("<u2").tobytes()) for name, w in weights.items()
    })  # fmt: skip


def prefixed(prefix):
    return lambda weights, path: save_file({prefix + name: w for name, w in weights.items()}, path)


def pytorch(wrap):
    def save(weights, path):
        torch = optional("torch")
        torch.save(wrap(torch, {name: torch.from_numpy(w.copy()) for name, w in weights.items()}), path)

    return save


def averaged(torch, state):
    raw = {name: torch.zeros_like(w) for name, w in state.items()}
    return {"epoch": np.float64(3), "state_dict": raw, "state_dict_ema": state}


FORMS = {
    "bfloat16": (lambda weights, path: path.write_bytes(bfloat16(weights)), ""),
    "compiled": (prefixed("_orig_mod."), "names without their prefix '_orig_mod.'"),
    "parallel and compiled": (prefixed("module._orig_mod."), "names without their prefix 'module._orig_mod.'"),
    "backbone": (prefixed("backbone."), "names without their prefix 'backbone.'"),
    "bfloat16 of PyTorch": (pytorch(lambda _, state: {name: w.bfloat16() for name, w in state.items()}), ""),
    "parameters": (pytorch(lambda torch, state: {name: torch.nn.Parameter(w) for name, w in state.items()}), ""),
    "averaged": (pytorch(averaged), "state_dict_ema of state_dict_ema, state_dict"),
    "NumPy": (pytorch(lambda _, state: {"model": {name: w.numpy() for name, w in state.items()}}), ""),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_model(form, tmp_path, quantize):
    """Quantized from the file, integer by integer, and what was chosen is said."""
    save, said = FORMS[form]
    weights = rounded(stored()[0])
    save_file(weights, tmp_path / "plain")
    quantize(tmp_path / "plain")
    expected = load_model(tmp_path / "m")
    (tmp_path / "m").unlink()
    save(weights, tmp_path / "checkpoint")
    assert said in quantize(tmp_path / "checkpoint")
    found = load_model(tmp_path / "m")
    assert found.nodes == expected.nodes
    assert found.tensors.keys() == expected.tensors.keys()
    for name, tensor in expected.tensors.items():
        np.testing.assert_array_equal(found.tensors[name], tensor)


def test_floats_of_8_bits_are_named(tmp_path, quantize):
    weights = {name: ("F8_E4M3", list(w.shape), bytes(w.size)) for name, w in stored()[0].items()}
    (tmp_path / "x").write_bytes(header_and(weights))
    said = quantize(tmp_path / "x", status=2)
    assert "is of type F8_E4M3, which is not supported; save it with 16 or 32 bits" in said
    assert (said.startswith("error: "), said.count("\n"), (tmp_path / "m").exists()) == (True, 1, False)


def test_a_mean_that_nobody_said_is_an_assumption_that_is_printed(tmp_path, quantize):
    """A network of the mean has the tensors of one of the class token."""
    save_file(stored()[0], tmp_path / "x")
    assert "assumed: the head reads the class token (of the mean, --pool avg says so)" in quantize(tmp_path / "x")
    assert "pool" not in {node.op for node in load_model(tmp_path / "m").nodes}
    assert "the head reads the mean of the patches" in quantize(tmp_path / "x", "--pool", "avg")
    assert "pool" in {node.op for node in load_model(tmp_path / "m").nodes}


# --- Hugging Face's DeiT ---


def deit(weights):
    """Its two heads, or one beside a token that nobody reads."""
    moved = {name: weights.pop(name) for name in list(weights) if name.startswith(("head_dist.", "dist_token"))}
    hugging_face(weights, "deit.")
    if "head_dist.weight" in moved:
        for kind in ("weight", "bias"):
            weights[f"cls_classifier.{kind}"] = weights.pop(f"classifier.{kind}")
            weights[f"distillation_classifier.{kind}"] = moved[f"head_dist.{kind}"]
    weights["deit.embeddings.distillation_token"] = moved["dist_token"]


def test_two_heads_of_hugging_face():
    weights, images, _ = stored()
    with_distillation(weights)
    deit(weights)
    _, measure = quantized(weights, images)
    np.testing.assert_allclose(measure.expected, logits_of("distilled"), rtol=0, atol=2e-5)


def test_one_head_of_hugging_face():
    """The distillation token is a register."""
    weights, images, _ = stored()
    with_distillation(weights)
    for kind in ("weight", "bias"):
        del weights[f"head_dist.{kind}"]
    register = {name: w for name, w in weights.items() if name != "dist_token"} | {"reg_token": weights["dist_token"]}
    deit(weights)
    (_, found), (_, wanted) = official_tensors(weights), official_tensors(register)
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        np.testing.assert_array_equal(found[name], tensor)
    model, _ = quantized(weights, images, "mse")
    x = pixels(model, images[:1])
    np.testing.assert_array_equal(execute(compile_model(model, ARTY), x), golden.run(model, x))


# --- sizes of images and patches ---


@pytest.mark.parametrize("patch", [8, 14, 16, 32])
def test_patches(patch):
    """Also such that a patch is no whole word."""
    shape = architecture("deit_tiny", img_size=3 * patch, patch=patch, dim=32, depth=(1,), heads=(2,), classes=5)
    model = make_model(shape, seed=patch)
    images = images_for(model, 2)
    np.testing.assert_array_equal(execute(compile_model(model, ARTY, batch=2), images), golden.run(model, images))


def test_384_pixels_of_a_network_for_224(tmp_path, capsys):
    """24 x 24 patches where there were 14 x 14, from the command line to the device's integers."""
    rng, shape = np.random.default_rng(2), {"cls_token": (1, 1, 32), "pos_embed": (1, 197, 32)}
    linears = {"attn.qkv": (96, 32), "attn.proj": (32, 32), "mlp.fc1": (64, 32), "mlp.fc2": (32, 64)}
    shape |= {f"blocks.0.{name}.weight": sizes for name, sizes in linears.items()}
    shape |= {f"blocks.0.{name}.bias": sizes[:1] for name, sizes in linears.items()}
    shape |= {"patch_embed.proj.weight": (32, 3, 16, 16), "patch_embed.proj.bias": (32,)}
    shape |= {f"{norm}.{kind}": (32,) for norm in ("norm", "blocks.0.norm1", "blocks.0.norm2") for kind in ("bias",)}
    weights = {name: rng.normal(0, 0.2, sizes).astype(np.float32) for name, sizes in shape.items()}
    weights |= {f"{norm}.weight": np.ones(32, np.float32) for norm in ("norm", "blocks.0.norm1", "blocks.0.norm2")}
    weights |= {"head.weight": rng.normal(0, 0.2, (7, 32)).astype(np.float32), "head.bias": np.zeros(7, np.float32)}
    save_file(weights, tmp_path / "x")
    np.save(tmp_path / "x.npy", rng.integers(0, 256, (1, 3, 384, 384), np.uint8))
    command = ["quantize", str(tmp_path / "x"), "--calibrate", str(tmp_path / "x.npy"), "--recipe", "mse"]
    assert main([*command, "--heads", "2", "--img-size", "384", "-o", str(tmp_path / "m")]) == 0
    assert "position embeddings of 197 tokens interpolated for 24 x 24 patches" in capsys.readouterr().out.replace(
        "\n", " "
    )
    model = load_model(tmp_path / "m")
    assert model.image == (3, 384, 384)
    images = images_for(model, 1)
    program = compile_model(model, ARTY)
    assert sum(program.tiles) == 577
    np.testing.assert_array_equal(execute(program, images), golden.run(model, images))


# --- pictures ---


def test_a_picture_of_16_bits_shows_what_8_bits_show(tmp_path, capsys):
    """From the command line: the same classes with the same probabilities."""
    eight = np.repeat(np.repeat(np.load(DIGITS / "images.npy")[3, 0], 3, 0), 3, 1)
    Image.fromarray(eight).save(tmp_path / "8.png")
    Image.fromarray(eight.astype(np.uint16) * 257).save(tmp_path / "16.png")
    command = ["run", str(DIGITS / "digits.safetensors"), "--device", "golden", "--report", str(tmp_path / "r.json")]
    assert main([*command, "--images", str(tmp_path / "8.png"), str(tmp_path / "16.png")]) == 0
    shallow, deep = (entry["top"] for entry in json.loads((tmp_path / "r.json").read_text())["classes"])
    assert shallow == deep
    assert len({candidate["logit"] for candidate in shallow}) > 1
    capsys.readouterr()

"""Models with rivals of I-ViT's operators: quantized, golden, compiled, on the machine model; refusals by name."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from firmware.__main__ import main
from firmware.architectures import architecture
from firmware.compiler import CompileError, compile_model
from firmware.graph import rivals as graph
from firmware.make_model import make_model
from firmware.model_file import load_model
from firmware.preprocess import to_int8
from firmware.quantizer import Measurement, split
from hw.boards.registry import BOARDS
from hw.spec.config import Config
from hw.spec.model import ModelError, validate
from sim import golden
from tests.firmware.test_compiler import execute, images_for
from tests.spec.test_rivals import load, vectors
from tests.support.models import quantized_digits
from tests.support.rivals import ALONE, MIXTURES, recipe_of, units_of

DIGITS = Path(__file__).parents[2] / "examples" / "digits"


@pytest.mark.parametrize("recipe", ["minmax", "mse"])
@pytest.mark.parametrize("name", MIXTURES)
def test_digits(name, recipe):
    """As accurate as with I-ViT's, and executed by a machine that has nothing but these units."""
    mixture = MIXTURES[name]
    model = quantized_digits(recipe_of(recipe, mixture))
    pixels, labels = np.load(DIGITS / "images.npy"), np.load(DIGITS / "labels.npy")
    images = to_int8(pixels, model)
    logits = golden.run(model, images)
    assert ((logits * model.logit_scale).argmax(1) == labels).mean() > 0.96
    for board in ("tiny", "arty_a7") if name == "I-BERT" else ("arty_a7",):
        program = compile_model(model, replace(BOARDS[board].config, vector=units_of(mixture)), batch=2)
        np.testing.assert_array_equal(execute(program, images[:2]), logits[:2])


@pytest.mark.parametrize("name", MIXTURES)
def test_swin(name):
    """With masks, whose scores are not there, and row maxima of ADD_MAX; probabilities of 8 and of 16 bits."""
    shape = architecture("swin_tiny", img_size=32, window=4, dim=16, depth=(2, 2), heads=(1, 2), classes=7)
    for recipe, bits in (("minmax", 8), ("official", 16)):
        model = make_model(shape, seed=5, attention_bits=bits, recipe=recipe_of(recipe, MIXTURES[name]))
        program = compile_model(model, Config(vector=units_of(MIXTURES[name])))
        images = images_for(model, 1)
        np.testing.assert_array_equal(execute(program, images), golden.run(model, images))


@pytest.mark.parametrize("missing", ALONE)
def test_what_is_not_built_is_refused_by_name(missing):
    mixture = ALONE[missing]
    model = quantized_digits(recipe_of("official", mixture), 8, blocks=1)
    with pytest.raises(CompileError, match=f"needs the unit {missing} .*has shiftmax, layer_norm, shift_gelu, add"):
        compile_model(model, Config())
    other = quantized_digits(recipe_of("official", {}), 8, blocks=1)
    if missing == "ptf_layer_norm":  # which I-LayerNorm is behind
        compile_model(other, Config(vector=units_of(mixture)))
        return
    lacking = {"int_softmax": "shiftmax", "log_int_softmax": "shiftmax", "int_gelu": "shift_gelu"}.get(
        missing, "layer_norm"
    )
    with pytest.raises(CompileError, match=f"needs the unit {lacking}"):
        compile_model(other, Config(vector=units_of(mixture)))


def test_the_command_line(tmp_path, capsys):
    made = tmp_path / "rivals.safetensors"
    files = [str(DIGITS / "float.safetensors"), "--images", str(DIGITS / "calibration.npy"), "-o", str(made)]
    shape = ["--patch", "2", "--heads", "2", "--mean", "0.5", "--std", "0.5", "--count", "12", "--recipe", "mse"]
    chosen = ["--softmax", "int_softmax", "--gelu", "int_gelu", "--norm", "l1_layer_norm"]
    assert main(["quantize", *files, *shape, *chosen]) == 0
    assert {"int_softmax", "int_gelu", "l1_layer_norm"} <= {node.op for node in load_model(made).nodes}
    assert main(["quantize", *files, *shape, *chosen, "--budget", "1.1"]) == 2
    assert "what --gelu int_gelu gives has 8" in capsys.readouterr().err


def test_the_loss_is_split():
    """Their own errors are operators' errors of the right kind."""
    measure = Measurement()
    model = quantized_digits(recipe_of("minmax", MIXTURES["I-BERT"]), 8, blocks=1, measure=measure)
    parts = split(measure)
    finite = {part.name for part in parts if np.isfinite(part.sqnr)}
    assert {"softmax", "GELU", "norm"} <= finite
    assert {"int_softmax", "int_gelu", "int_layer_norm"} <= {node.op for node in model.nodes}


def test_probabilities_of_16_bits_are_as_they_are():
    model = quantized_digits(recipe_of("official", ALONE["int_softmax"]), 8, blocks=1, attention_bits=16)
    node = next(node for node in model.nodes if node.op == "int_softmax")
    assert not model.tensor(node, "halve").any()
    halved = replace(model, tensors={**model.tensors, f"{node.name}.halve": np.ones(1, np.int8)})
    with pytest.raises(ModelError, match="halve must be 0 where probabilities have 16 bits"):
        validate(halved)
    images = images_for(model, 1)
    program = compile_model(model, Config(vector=units_of(ALONE["int_softmax"])))
    np.testing.assert_array_equal(execute(program, images), golden.run(model, images))


# Constants


@pytest.mark.parametrize("path", vectors("ibert_softmax"))
def test_constants_of_the_exponential(path):
    """The official ones where no fraction is needed; the quantizer's is that of the row maximum's exponential."""
    v = load(path)
    if v["s_in"] < graph.LEAST_SCORE or v["s_in"] > graph._FINE:
        found = graph.exponent(max(v["s_in"], np.float32(graph.LEAST_SCORE)) if v["s_in"] < 1 / 32 else v["s_in"])
        assert (found["fraction"] > 0) == (v["s_in"] > graph._FINE)
        return
    found = graph.exponent(v["s_in"])
    assert [int(found[name][0]) for name in ("ln2", "b", "c", "fraction")] == [v["I_ln2"], v["b_int"], v["c_int"], 0]
    assert (found["exp_mult"], found["exp_shift"]) == (v["m"], v["e"] - 30)


@pytest.mark.parametrize("path", vectors("ibert_gelu"))
def test_constants_of_gelu(path):
    v = load(path)
    b, c, scale = graph.gelu(v["s_in"])
    assert (b, c) == (-v["b_int"], -v["c_int"])
    assert np.isclose(scale, -v["s_out"], rtol=1e-6)


@pytest.mark.parametrize("scale", [0.0033, 0.01, 1 / 32, 0.05, 0.3, 1.0, 7.0, 80.0])
def test_exponentials_are_exponentials(scale):
    """Fraction bits make int8 scores of any scale as exact as I-BERT's int32 ones."""
    constants = graph.exponent(np.float32(scale))
    m = np.arange(256)
    found = graph.rivals.int_exp16(
        m << constants["fraction"], *(constants[k] for k in ("ln2", "b", "c", "exp_mult", "exp_shift"))
    )  # fmt: skip
    assert np.abs(found / 32767 - np.exp(-m * scale)).max() < 0.03
    assert found[0] in {32766, 32767}


def test_scales_that_no_constants_have():
    with pytest.raises(ModelError, match=r"need scales from 0\.0033 to 88, not 0\.001"):
        graph.exponent(np.float32(0.001))

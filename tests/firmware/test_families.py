"""Families: what they declare, that one from outside is as good as ours, and what is said where none fits."""

from dataclasses import replace

import numpy as np
import pytest

from firmware.__main__ import main
from firmware.architectures import architecture
from firmware.compiler import CompileError, compile_model
from firmware.device import Accelerator
from firmware.families import ARCHITECTURES, FAMILIES, register, registered
from firmware.identify import foreign, identify
from firmware.make_model import float_weights, images, make_model
from firmware.model_file import load_model
from firmware.preprocess import normalise
from firmware.quantizer import Measurement, quantize
from hw.spec.config import Config
from hw.spec.model import ModelError
from sim import golden
from tests.firmware.test_compiler import execute, images_for
from tests.support.models import random_model
from tests.support.perceptron import Perceptron
from tests.support.swin import random_swin


@pytest.fixture
def perceptron():
    with registered(Perceptron()) as family:
        yield family
    assert list(FAMILIES) == ["vit", "swin", "bert"]
    assert family.architectures[0].name not in ARCHITECTURES


@pytest.mark.usefixtures("perceptron")
@pytest.mark.parametrize("batch", [1, 3])
def test_a_family_from_outside_compiles(batch):
    model = make_model(architecture("perceptron_tiny"), seed=batch)
    pixels = images_for(model, batch)
    for config in (Config(), Config(rows=8, cols=10, array="portable")):
        program = compile_model(model, config, batch=batch)
        assert sum(layer.macs for layer in program.layers) == program.macs == batch * (768 * 64 + 2 * 64 * 64 + 640)
        np.testing.assert_array_equal(execute(program, pixels), golden.run(model, pixels))


@pytest.mark.usefixtures("perceptron")
def test_a_family_from_outside_runs_on_the_gateware(tmp_path, capsys):
    """From its name on the command line to logits, bit for bit."""
    path = tmp_path / "model"
    assert main(["make-model", "perceptron_tiny", "-o", str(path)]) == 0
    assert main(["inspect", str(path)]) == 0
    assert "hidden.1.act" in capsys.readouterr().out
    model = load_model(path)
    pixels = images_for(model, 2)
    with Accelerator.open("sim:tiny") as device:
        device.load(model)
        np.testing.assert_array_equal(device.run(pixels), golden.run(model, pixels))


def test_a_family_from_outside_is_identified_and_measured(perceptron):
    shape = perceptron.architectures[0]
    weights = float_weights(shape)
    assert identify(weights) == shape
    assert foreign({**weights, "hidden.0.gamma": weights["head.bias"]}) == ["hidden.0.gamma"]
    measure = Measurement()
    pixels = normalise(images(shape, 16), *shape.statistics)
    quantize(weights, pixels, name="x", mean=(0,) * 3, std=(1,) * 3, measure=measure)
    assert measure.end["logit_sqnr"] > 20
    with pytest.raises(ModelError, match="these are no tensors of a ViT, DeiT, Swin, BERT or perceptron"):
        identify({"fc.weight": weights["head.weight"]})


@pytest.mark.usefixtures("perceptron")
def test_a_wrong_graph_of_a_family_from_outside():
    model = make_model(architecture("perceptron_tiny"))
    following = replace(model.nodes[9], inputs=(model.nodes[6].name,))
    nodes = (*model.nodes[:7], following, *model.nodes[10:])  # without the ShiftGELU of hidden.0
    with pytest.raises(CompileError, match=r"node hidden\.0 and those behind it are no layer of a perceptron"):
        compile_model(replace(model, nodes=nodes), Config())


def test_graphs_of_no_family():
    model = make_without_family()
    with pytest.raises(CompileError, match="the graph of perceptron_tiny_16 is that of no ViT, DeiT, Swin or BERT"):
        compile_model(model, Config())


def make_without_family():
    with registered(Perceptron()):
        return make_model(architecture("perceptron_tiny"))


def test_names_are_taken_once():
    with pytest.raises(ValueError, match="there is already a family vit"):
        register(FAMILIES["vit"])


def test_stages_are_what_a_person_reads():
    (stage,) = FAMILIES["vit"].stages(random_model())
    assert (stage.blocks, stage.tokens, stage.width, stage.heads, stage.hidden) == (2, 17, 64, 2, 256)
    assert (stage.window, stage.shifted) == (None, 0)
    first, last = FAMILIES["swin"].stages(random_swin(image=(3, 64, 64)))
    assert (first.tokens, first.window, first.shifted, last.tokens, last.width) == (256, 4, 1, 64, 64)
    assert FAMILIES["vit"].stages(random_swin()) == ()

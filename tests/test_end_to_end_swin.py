"""Swins, whole, through the host API on the compiled gateware: bit-exact, in the cycles that the model predicts."""

import numpy as np
import pytest

from firmware.device import Accelerator
from firmware.locate import locate
from sim import golden
from sim.cycles import predict
from tests.firmware.test_compiler import images_for
from tests.sim.test_golden import imported, load
from tests.support.swin import random_swin


def test_official_swin():
    """Shifted windows, masks, relative positions, merging and pooling of a model that the official modules ran."""
    model = imported("small_swin_a")
    images = load("small_swin_a", "images")["images"][:1]
    with Accelerator.open("sim:arty_a7") as device:
        program = device.load(model)
        logits = device.run(images)
        profile = device.profile()
    np.testing.assert_array_equal(logits, golden.run(model, images))
    prediction = predict(program)
    assert prediction.cycles == pytest.approx(profile.cycles, rel=0.005)
    assert prediction.beats == profile.beats
    for guess, layer in zip(prediction.layers, profile.layers, strict=True):
        if layer.cycles > 0.05 * profile.cycles:
            assert guess.cycles == pytest.approx(layer.cycles, rel=0.05), layer.name


@pytest.mark.parametrize(("target", "batch", "bits"), [("sim:tiny?random=5", 2, 8), ("sim:tiny", 1, 16)])
def test_exact_whatever_the_memory_does(target, batch, bits):
    model = random_swin(seed=batch, attention_bits=bits)
    images = images_for(model, batch)
    with Accelerator.open(target) as device:
        device.load(model, batch=batch)
        np.testing.assert_array_equal(device.run(images), golden.run(model, images))


def test_first_difference_is_found():
    model, wrong = random_swin(seed=3), random_swin(seed=3)
    wrong.tensors["layers.1.blocks.0.mlp.fc1.weight"][0] ^= 64
    images, trace = images_for(model, 1), {}
    golden.run(model, images, trace)
    with Accelerator.open("sim:tiny") as device:
        assert locate(device, model, images, trace) is None
        assert locate(device, wrong, images, trace)["tensor"] == "layers.1.blocks.0.qact4"

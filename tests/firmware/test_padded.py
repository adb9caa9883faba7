"""Heads and hidden layers that are no whole words: what is padded changes nothing, on the model or on the device."""

from dataclasses import replace

import numpy as np
import pytest

from firmware.compiler import compile_model
from firmware.device import Accelerator
from firmware.families.swin.pattern import recognise as recognise_swin
from firmware.families.vit.pattern import recognise
from firmware.locate import locate
from firmware.planner.padded import padded
from hw.boards.registry import BOARDS
from hw.spec.config import Config
from hw.spec.liveness import live_macs
from hw.spec.model import values
from sim import golden
from tests.firmware.test_compiler import execute, images_for
from tests.firmware.test_variants import pixels, quantized, stored
from tests.support.models import random_model
from tests.support.swin import random_swin

ARTY, TINY = (BOARDS[name].config for name in ("arty_a7", "tiny"))
SIZES = {
    "head 72": {"dim": 144, "heads": 2, "hidden": 576},
    "head 40": {"dim": 80, "heads": 2, "hidden": 321},
    "head 24": {"dim": 96, "heads": 4, "hidden": 250},
    "head 8": {"dim": 64, "heads": 8, "hidden": 15},
    "head 3": {"dim": 48, "heads": 16, "hidden": 1},
}


def blocks_of(model):
    if any(node.op == "concat_cls" for node in model.nodes):
        return recognise(model).blocks
    return [block for stage in recognise_swin(model).stages for block in stage.blocks]


def below_zero(model):
    """The same with hidden channels that are all negative, whose largest a zero would exceed."""
    bias = {
        name: np.full_like(tensor, -(1 << 18)) for name, tensor in model.tensors.items() if name.endswith("fc1.bias")
    }
    return replace(model, tensors={**model.tensors, **bias})


@pytest.mark.parametrize("word", [16, 32])
@pytest.mark.parametrize(
    "model",
    [
        random_model(seed=1, **SIZES["head 24"]),
        below_zero(random_model(seed=2, **SIZES["head 40"])),
        random_swin(dim=48, heads=(2, 4)),
    ],
    ids=["vit", "negative", "swin"],
)
def test_every_other_number_stays(model, word):
    """All nodes but those that are wider; of these, the true channels."""
    wide, images = padded(model, blocks_of(model), word), images_for(model, 2)
    expected, found, sizes = {}, {}, values(wide)
    golden.run(model, images, expected)
    golden.run(wide, images, found)
    widened = {node.name for node in model.nodes if sizes[node.name] != values(model)[node.name]}
    for node in model.nodes:
        if node.name not in widened:
            np.testing.assert_array_equal(found[node.name], expected[node.name], err_msg=node.name)
    for block in blocks_of(wide):
        assert sizes[block.qkv.name].shape[-1] % (3 * word * block.scores.attributes["heads"]) == 0
        assert sizes[block.fc1.name].shape[-1] % word == 0
        hidden, act = values(model)[block.fc1.name].shape[-1], block.act.output.name
        np.testing.assert_array_equal(found[act][..., :hidden], expected[act])
        split = (*expected[block.context_quant.name].shape[:-1], block.scores.attributes["heads"], -1)
        context, true = (run[block.context_quant.name].reshape(split) for run in (found, expected))
        np.testing.assert_array_equal(context[..., : true.shape[-1]], true)
        assert not context[..., true.shape[-1] :].any()
    assert any(name in widened for name in (block.qkv.name for block in blocks_of(model)))


def test_whole_words_stay_as_they_are():
    model = random_model(seed=1)
    wide = padded(model, blocks_of(model), 16)
    assert all(wide.tensors[name] is tensor for name, tensor in model.tensors.items())


@pytest.mark.parametrize(
    ("size", "config"),
    [
        *((size, config) for size in SIZES for config in (ARTY, TINY)),
        *((size, Config(rows=32, cols=24, array="portable")) for size in ("head 24", "head 8")),
    ],
    ids=lambda value: f"{value.rows} rows" if isinstance(value, Config) else value,
)
def test_equals_golden(size, config):
    """The device's logits are the golden model's of the model as it is; its MACs are counted, not those of zeros."""
    model = random_model(seed=len(size), bits=8 if size == "head 8" else 16, **SIZES[size])
    images = images_for(model, 2)
    program = compile_model(model, config, batch=2)
    assert program.model is model
    assert program.macs == 2 * sum(live_macs(model).values()) == sum(layer.macs for layer in program.layers)
    np.testing.assert_array_equal(execute(program, images), golden.run(model, images))


def test_several_super_tiles_of_negative_hidden_channels():
    model = below_zero(random_model(seed=5, image=(3, 56, 56), **SIZES["head 40"]))
    program, images = compile_model(model, Config(tokens=32)), images_for(model, 1)
    assert len(program.tiles) > 1
    np.testing.assert_array_equal(execute(program, images), golden.run(model, images))


def test_scales_of_each_head():
    """Eight heads of eight channels with factors of their own for Q, K, V and context, and a table."""
    weights, images, _ = stored()
    for block in range(2):
        at = f"blocks.{block}.mlp"
        weights |= {
            f"{at}.fc1.weight": weights[f"{at}.fc1.weight"][:250], f"{at}.fc1.bias": weights[f"{at}.fc1.bias"][:250],
            f"{at}.fc2.weight": weights[f"{at}.fc2.weight"][:, :250],
        }  # fmt: skip
    model, _ = quantized(weights, images, heads=8)
    assert any(model.tensor(block.context_quant, "mult").size > 1 for block in blocks_of(model))
    x = pixels(model, images[:2])
    np.testing.assert_array_equal(execute(compile_model(model, ARTY, batch=2), x), golden.run(model, x))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("config", [ARTY, TINY], ids=["arty_a7", "tiny"])
def test_swin(config, bits):
    model = random_swin(seed=bits, image=(3, 64, 64), dim=48, heads=(4, 8), attention_bits=bits)
    program, images = compile_model(model, config), images_for(model, 1)
    assert program.macs == model.macs
    np.testing.assert_array_equal(execute(program, images), golden.run(model, images))


def test_on_the_gateware():
    """On the simulated RTL, and compared block by block: a wrong weight is found in its block."""
    model = random_model(seed=6, image=(3, 24, 24), dim=48, depth=3, heads=4, hidden=100)
    images, trace, name = images_for(model, 2), {}, "blocks.1.attn.qkv.weight"
    weight = model.tensors[name].copy()
    weight[100] = -weight[100]  # of a value
    wrong = replace(model, tensors={**model.tensors, name: weight})
    golden.run(model, images[:1], trace)
    with Accelerator.open("sim:tiny?random=3") as device:
        device.load(model, batch=2)
        np.testing.assert_array_equal(device.run(images), golden.run(model, images))
        assert device.profile().macs == 2 * sum(live_macs(model).values())
        assert locate(device, model, images[:1], trace) is None
        assert locate(device, wrong, images[:1], trace)["tensor"] == "blocks.1.qact4"

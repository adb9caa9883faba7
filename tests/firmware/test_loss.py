"""The split of the loss: each part by itself, all of them the integer model, none of them the float network."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from firmware.__main__ import main
from firmware.architectures import architecture
from firmware.checkpoint import load_checkpoint
from firmware.make_model import float_weights
from firmware.make_model import images as architecture_images
from firmware.plots import save_figure
from firmware.preprocess import normalise
from firmware.quantizer import RECIPES, LossReport, Measurement, Recipe, plot, quantize, sensitivities, split
from firmware.quantizer.loss import ALONE_IMAGES, chosen
from firmware.quantizer.lossy import KINDS, Effects, LossyNetwork
from firmware.quantizer.measure import sqnr
from firmware.quantizer.reference import gelu
from hw.spec.operators import OPERATORS, evaluate

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
STORED = Path(__file__).parents[1] / "data" / "timm"
SWIN = architecture("swin_tiny", img_size=32, window=4, dim=16, depth=(2, 2), heads=(1, 2), classes=7)


def digits(recipe, count=48):
    weights, pixels = load_file(DIGITS / "float.safetensors"), np.load(DIGITS / "calibration.npy")[:count]
    measure = Measurement()
    quantize(
        weights, normalise(pixels, [0.5], [0.5]), name="digits", heads=2, mean=[0.5], std=[0.5], recipe=recipe,
        measure=measure,
    )  # fmt: skip
    return measure


def swin(recipe):
    mean, std = SWIN.statistics
    images, measure = normalise(architecture_images(SWIN, 12, seed=5), mean, std), Measurement()
    quantize(
        float_weights(SWIN, seed=5), images, name="swin", mean=mean, std=std, recipe=recipe, measure=measure,
        attention_bits=16,
    )  # fmt: skip
    return measure


def vit(recipe, pool=None, *, head=True):
    """timm's stored ViT, which also gives features: of the class token, with a scale and a centre per channel."""
    with np.load(STORED / "vit.npz") as arrays:
        images = arrays["images"].astype(np.float32)
    weights = dict(load_checkpoint(STORED / "vit.safetensors").tensors)
    if not head:
        del weights["head.weight"], weights["head.bias"]
    measure = Measurement()
    quantize(
        weights, images, name="vit", heads=2, mean=[0.5] * 3, std=[0.5] * 3, recipe=recipe, measure=measure, pool=pool
    )
    return measure


NETWORKS = {
    **{f"digits {name}": (lambda recipe=recipe: digits(recipe)) for name, recipe in RECIPES.items()},
    **{f"swin {name}": (lambda recipe=recipe: swin(recipe)) for name, recipe in RECIPES.items()},
    "digits equalised": lambda: digits(Recipe(equalise=True, correct_attention=True)),
    "swin corrected": lambda: swin(Recipe(ranges="mse", correct_attention=True)),
    "features": lambda: vit(RECIPES["minmax"], head=False),
    "features, mean of patches": lambda: vit(RECIPES["minmax"], "avg", head=False),
    "features official": lambda: vit(RECIPES["official"], head=False),
    "mean of patches": lambda: vit(RECIPES["percentile"], "avg"),
}


@pytest.fixture(scope="module")
def measured():
    """Measurements of networks by name, each made once."""
    made = {}

    def give(name):
        if name not in made:
            made[name] = NETWORKS[name]()
        return made[name]

    return give


def network_of(measure, images=slice(None)):
    return LossyNetwork(measure.record, measure.record.images[images])


def operators_of(network):
    return frozenset().union(*(network.operators(kind) for kind in KINDS))


def everything(network):
    record = network.record
    return Effects(parameters=record.parameters, operators=operators_of(network), quantizers=record.quantizers)


@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_is_the_float_network_and_everything_the_integer_one(measured, name):
    measure = measured(name)
    network = network_of(measure)
    np.testing.assert_array_equal(network.run(Effects()), measure.expected)
    found = network.run(everything(network))
    # codes flip where float32 rounds otherwise than integers, and with a few images the sum of the errors is by chance
    assert abs(sqnr(measure.expected, found) - measure.end["logit_sqnr"]) < 1.5
    assert (
        sqnr(measure.logits, found) > measure.end["logit_sqnr"] + 3
    )  # the same errors: others of the same size would be 3 dB below


@pytest.mark.parametrize("name", ["digits official", "digits minmax", "swin official", "swin minmax", "features"])
def test_first_block_has_the_integers(measured, name):
    """With everything on, nodes have the integer model's codes: all but those that float rounding tips over."""
    measure = measured(name)
    record = measure.record
    network, values, integers = network_of(measure), {}, {}
    effects, pixels = everything(network), record.codes["qact_input"]
    quantized = pixels.clamped(pixels.steps(record.images)).astype(np.int64)
    seen = 0
    for index, node in enumerate(record.nodes):
        network.step(index, values, effects)
        given = [quantized] if OPERATORS[node.op].image else [integers[source] for source in node.inputs]
        integers[node.name] = evaluate(record.tensors, node, given)
        # Of the finished graph, FreeCalibration adds the centres of GELU's inputs to the biases before: not recorded.
        if node.name.endswith("mlp.fc1"):
            break
        code = record.codes.get(node.name)
        if node.name in record.quantizers:
            steps = code.steps(values[node.name])
            seen += 1
            assert np.mean(steps == integers[node.name]) > (0.98 if code.bits == 8 else 0), node.name
            assert sqnr(integers[node.name], steps) > 45, node.name
    assert seen >= 8


@pytest.mark.parametrize("name", ["digits official", "digits minmax", "swin official", "swin minmax"])
def test_operators_give_their_laws_at_codes(measured, name):
    """Where its input is one of the codes, an operator with its own error is the law exactly."""
    measure = measured(name)
    network, record, values, kinds = network_of(measure, slice(2)), measure.record, {}, set()
    for index, node in enumerate(record.nodes):
        inputs = network.step(index, values, everything(network))
        kind = next((kind for kind, ops in KINDS.items() if node.op in ops), None)
        if kind:
            kinds.add(kind)
            code, given = record.codes[node.inputs[0]], [inputs[0], *inputs[1:]]
            integers = [code.steps(given[0]).astype(np.int64), *(mask.astype(np.int64) for mask in given[1:])]
            law = record.codes[node.name].real(evaluate(record.tensors, node, integers))
            np.testing.assert_allclose(values[node.name], law, rtol=2e-6, atol=2e-6 * np.abs(law).max())
    assert kinds == {"softmax", "GELU", "norm"} | ({"pooling"} if name.startswith("swin") else set())


def exact_weights():
    """The digits' network, parameters whole multiples of a power of two, 127 the largest of a row, and no biases."""
    weights = load_file(DIGITS / "float.safetensors")
    for name, value in weights.items():
        if name.endswith(".weight") and value.ndim > 1:
            flat = value.reshape(len(value), -1)
            integers = np.rint(flat / np.abs(flat).max(1, keepdims=True) * 127)
            weights[name] = (integers * 2.0**-9).astype(np.float32).reshape(value.shape)
        elif name.endswith(".bias") and "norm" not in name:
            weights[name] = np.zeros_like(value)
    weights["cls_token"] = np.zeros_like(weights["cls_token"])
    positions = np.rint(weights["pos_embed"] / np.abs(weights["pos_embed"]).max() * 32767)
    weights["pos_embed"] = (positions * 2.0**-16).astype(np.float32)
    return weights


def weights_alone(weights):
    measure, pixels = Measurement(), np.load(DIGITS / "calibration.npy")[:16]
    quantize(
        weights, normalise(pixels, [0.5], [0.5]), name="x", heads=2, mean=[0.5], std=[0.5],
        recipe=Recipe(ranges="minmax"), measure=measure,
    )  # fmt: skip
    return {part.name: part for part in split(measure)}["weights"]


def test_exact_weights_cost_nothing():
    exact = weights_alone(exact_weights())
    assert exact.sqnr == math.inf
    assert exact.cosine == pytest.approx(1, abs=1e-12)
    for name in ("blocks.2.mlp.fc1.weight", "blocks.1.attn.proj.bias", "pos_embed", "cls_token"):  # any of them is seen
        changed = exact_weights()
        changed[name] += np.float32(2**-17) * np.random.default_rng(0).integers(0, 2, changed[name].shape)
        assert weights_alone(changed).sqnr < 150, name


def test_split(measured):
    """A table of the exact function costs nothing, ShiftGELU does; operators are its kinds; the end is the end."""
    parts = {name: {part.name: part for part in split(measured(f"digits {name}"))} for name in ("mse", "minmax")}
    assert list(parts["mse"]) == ["weights", "operators", "softmax", "GELU", "norm", "activations", "everything"]
    assert parts["minmax"]["GELU"].sqnr > 120
    assert parts["mse"]["GELU"].sqnr < 50
    for found in parts.values():
        assert found["norm"].sqnr > 80  # I-LayerNorm of 16 bits
        assert found["operators"].sqnr < min(found[kind].sqnr for kind in ("softmax", "GELU")) + 1
        assert found["everything"].sqnr < min(found[name].sqnr for name in ("weights", "operators", "activations")) + 1
        assert 45 < found["weights"].sqnr < 60
        assert all(part.cosine > 0.999 for part in found.values())
    measure = measured("digits minmax")
    use = chosen(measure, 8)
    assert (len(use), use[0], use[-1]) == (8, 0, 47)
    assert parts["minmax"]["everything"].sqnr == pytest.approx(
        sqnr(measure.expected[use], measure.logits[use]), abs=1e-3
    )
    for part, kind in (("activations", "activation"), ("weights", "weight")):
        own = {row.name: row.own_sqnr for row in measure.rows if row.kind == kind}
        assert list(parts["minmax"][part].worst) == sorted(own.items(), key=lambda item: item[1])[:3]
    assert {name.rpartition(".")[2] for name, _ in parts["mse"]["softmax"].worst} == {"int_softmax"}
    assert "pooling" in {part.name for part in split(measured("swin official"))}


@pytest.mark.parametrize("name", ["digits minmax", "swin official"])
def test_each_quantizer_alone(measured, name):
    """The walk with its copies gives what a run of the whole network with that one quantizer gives."""
    measure, calls = measured(name), []
    found = sensitivities(measure, progress=lambda *call: calls.append(call))
    assert list(found) == measure.record.quantizers
    assert calls[-1] == (len(found), len(found), measure.record.quantizers[-1])
    network = network_of(measure, chosen(measure, ALONE_IMAGES))
    expected = network.run(Effects())
    few = measure.record.quantizers[::5]
    for quantizer in few:
        noise = network.run(Effects(quantizers={quantizer})) - expected
        assert found[quantizer] == pytest.approx(np.square(noise).sum() / np.square(expected).sum(), rel=1e-9)
        assert found[quantizer] > 0
    assert sensitivities(measure, few) == {name: found[name] for name in few}
    assert sensitivities(measure, ["qact1"], images=1).keys() == {"qact1"}
    with pytest.raises(KeyError, match="head is no quantizer"):
        sensitivities(measure, ["head", "qact1"])


def test_16_bits_cost_less(measured):
    """What --budget relies on: the residual stream's quantizers are hardly seen at the outputs, the 8-bit ones are."""
    measure = measured("digits minmax")
    found, bits = sensitivities(measure), {row.name: row.bits for row in measure.rows if row.kind == "activation"}
    assert max(found[name] for name in found if bits[name] == 16) < min(
        found[name] for name in found if bits[name] == 8
    )


def test_only_what_is_read_again_is_kept(measured):
    network, values, most = network_of(measured("digits minmax"), slice(2)), {}, 0
    for index in range(len(network.record.nodes)):
        network.step(index, values, Effects())
        most = max(most, len(values))
    assert most <= 4
    assert list(values) == ["head"]


def test_gelu_is_the_interpolated_table():
    x = np.concatenate([np.linspace(-9, 9, 20001), [-1e30, 1e30, -8, 8, -1e-30, 0]]).astype(np.float32)
    exact = x * np.array([math.erfc(-value / math.sqrt(2)) / 2 for value in x.astype(np.float64)])
    np.testing.assert_allclose(gelu(x[:-6]), exact[:-6], rtol=1e-7, atol=3e-8)
    np.testing.assert_array_equal(gelu(x[[-5, -3, -2, -1]]), np.float32([1e30, 8, -5e-31, 0]))
    assert -1e16 < gelu(x[-6:-5])[0] <= 0  # of -1e30, where the table ends with 6e-16
    assert gelu(np.zeros((0, 3), np.float32)).shape == (0, 3)
    np.testing.assert_array_equal(gelu(np.broadcast_to(x[:4], (50000, 4)))[-1], gelu(x[:4]))


# --- the command ---


def command(tmp_path, *options):
    files = [str(DIGITS / "float.safetensors"), "--images", str(DIGITS / "calibration.npy"), "--count", "12"]
    sizes = ["--heads", "2", "--mean", "0.5", "--std", "0.5", "--recipe", "minmax"]
    return main(["quantize", *files, *sizes, "-o", str(tmp_path / "m.safetensors"), *options])


def test_command_splits_always_and_tries_each_alone_on_demand(tmp_path, capsys, monkeypatch):
    def fail(*_arguments, **_options):
        raise AssertionError("not asked for")

    monkeypatch.setattr("firmware.cli.quantize.sensitivities", fail)
    assert command(tmp_path) == 0
    shown = capsys.readouterr().out
    assert "outputs against float if only one part is there, 8 images" in shown
    assert "what costs most" not in shown
    assert shown.index("if only one part") < shown.index("activations: SQNR of each quantizer")
    monkeypatch.undo()
    assert command(tmp_path, "--report", str(tmp_path / "r.json"), "--plot", str(tmp_path / "p.svg")) == 0
    shown, report = capsys.readouterr().out, json.loads((tmp_path / "r.json").read_text())
    parts, alone = report["split"]["parts"], report["alone"]
    assert (report["split"]["images"], alone["images"]) == (8, 4)
    assert list(parts) == ["weights", "operators", "softmax", "GELU", "norm", "activations", "everything"]
    assert len(parts["weights"]["worst"]) == 3
    assert alone["sqnr"].keys() == {row["name"] for row in report["quantizers"] if row["kind"] == "activation"}
    worst = min(alone["sqnr"], key=alone["sqnr"].get)
    assert worst in shown[shown.index("what costs most") : shown.index("activations: SQNR")]
    drawn = (tmp_path / "p.svg").read_text()
    assert worst in drawn
    for name in ("activations along the depth", "everything", f"{parts['softmax']['sqnr']:.1f} dB", "qact_input"):
        assert name in drawn, name


def test_plots(measured, tmp_path):
    """Equal measurements, equal bytes; without the walk as well; parts without noise have no bar."""
    measure = measured("digits minmax")
    report = LossReport(measure=measure, parts=split(measure), noise={})
    assert "alone" not in report.report()
    for kind, begins in (("svg", b"<?xml"), ("png", b"\x89PNG")):
        for copy in range(2):
            with (tmp_path / f"{copy}.{kind}").open("wb") as file:
                save_figure(report.plot(), kind, file)
        first, second = ((tmp_path / f"{copy}.{kind}").read_bytes() for copy in range(2))
        assert first == second
        assert first.startswith(begins)
    exact = plot.Loss(name="weights", sqnr=math.inf, cosine=1.0)
    with (tmp_path / "exact.svg").open("wb") as file:
        save_figure(plot.draw(report.measure, [exact, *report.parts[1:]], {}), "svg", file)
    assert "inf dB" in (tmp_path / "exact.svg").read_text()


def test_plots_that_cannot_be(tmp_path, capsys, monkeypatch):
    """Told before the work begins, in one sentence; nothing is written."""
    assert command(tmp_path, "--plot", str(tmp_path / "p.jpg")) == 2
    assert "--plot wants a file whose name ends in .svg or .png, not" in capsys.readouterr().err
    monkeypatch.setattr("firmware.plots.find_spec", lambda _name: None)
    assert command(tmp_path, "--plot", str(tmp_path / "p.svg")) == 2
    assert "--plot needs matplotlib, which is not installed: pip install 'shiftwork[plot]'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())

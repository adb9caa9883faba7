"""The digits model, whole, through the host API and the command line on the compiled gateware; and bad input."""

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from firmware.__main__ import main
from firmware.compiler import compile_model
from firmware.device import Accelerator, StrangerError
from firmware.locate import locate
from firmware.model_file import load_model
from firmware.preprocess import to_int8
from firmware.quantizer import RECIPES
from firmware.transport import open_transport
from hw.boards.registry import BOARDS
from hw.spec.liveness import live_macs
from sim import golden
from tests.support.models import quantized_digits

DIGITS = Path(__file__).parent.parent / "examples" / "digits"
MODEL, IMAGES, LABELS = (str(DIGITS / name) for name in ("digits.safetensors", "images.npy", "labels.npy"))


@pytest.fixture(scope="module")
def model():
    return load_model(MODEL)


@pytest.fixture(scope="module")
def images(model):
    return to_int8(np.load(IMAGES), model)


def test_readme_example(model):
    """The ten lines of the README."""
    with Accelerator.open("sim:arty_a7") as device:
        device.load(model, batch=4)
        pixels = np.load(IMAGES)[:20]
        logits = device.run(pixels)
        profile = device.profile()
    np.testing.assert_array_equal(logits, golden.run(model, to_int8(pixels, model)))
    classes = (logits * model.logit_scale).argmax(1)
    assert (classes == np.load(LABELS)[:20]).mean() >= 0.95
    assert profile.images == 20
    assert 0.3 < profile.utilisation < profile.occupancy < 1
    assert sum(layer.macs for layer in profile.layers) == profile.macs == 20 * sum(live_macs(model).values())


@pytest.mark.parametrize(("target", "batch"), [("sim:tiny", 1), ("sim:tiny?random=7", 3), ("sim:arty_a7?random=3", 2)])
def test_exact_whatever_the_memory_does(model, images, target, batch):
    with Accelerator.open(target) as device:
        device.load(model, batch=batch)
        np.testing.assert_array_equal(device.run(images[:5]), golden.run(model, images[:5]))


def test_tables_and_fraction_bits(images):
    """The digits network by a recipe that uses both, a scale per head and zero points, on the gateware."""
    model = quantized_digits(RECIPES["minmax"])
    assert {"table"} <= {node.op for node in model.nodes}
    assert any(model.tensor(node, "fraction").any() for node in model.nodes if node.op == "shiftmax")
    with Accelerator.open("sim:tiny?random=5") as device:
        device.load(model)
        np.testing.assert_array_equal(device.run(images[:2]), golden.run(model, images[:2]))


def test_device_of_another_config_is_refused():
    transport = open_transport("sim:tiny")
    try:
        with pytest.raises(StrangerError, match=r"expected fingerprint 0x\w+, found 0x\w+; the device is built from"):
            Accelerator(transport, BOARDS["arty_a7"].config)
    finally:
        transport.close()


def test_program_of_another_config_is_refused(model):
    program = compile_model(model, BOARDS["arty_a7"].config)
    with Accelerator.open("sim:tiny") as device, pytest.raises(StrangerError, match="the program is for fingerprint"):
        device.load(program)


def test_first_difference_is_found(model, images):
    """A device that runs a model with one weight changed departs in that weight's block."""
    name = "blocks.2.mlp.fc1.weight"
    weight = model.tensors[name].copy()
    weight[3] = -weight[3]
    wrong = replace(model, tensors={**model.tensors, name: weight})
    trace = {}
    golden.run(model, images[:1], trace)
    with Accelerator.open("sim:tiny") as device:
        assert locate(device, model, images[:1], trace) is None
        found = locate(device, wrong, images[:1], trace)
    assert found["tensor"] == "blocks.2.qact4"
    assert found["expected"] == trace["blocks.2.qact4"][tuple(found["index"])] != found["actual"]


def test_run_writes_report_and_logits(tmp_path, capsys, model, images):
    report, logits = tmp_path / "run.json", tmp_path / "logits.npy"
    arguments = [
        "run",
        MODEL,
        "--images",
        IMAGES,
        "--labels",
        LABELS,
        "--count",
        "4",
        "--device",
        "sim:tiny",
        "--check",
    ]
    assert main([*arguments, "--report", str(report), "--logits", str(logits)]) == 0
    content = json.loads(report.read_text())
    assert content["bit_exact"] is True
    assert content["images"] == 4
    assert content["macs_per_image"] == sum(live_macs(model).values())
    assert content["cycles_per_image"] * 4 == content["cycles"]
    assert {"busy", "wait_in", "wait_out"} == set(content["engines"]["MATMUL"])
    assert {"name", "op", "cycles", "macs", "utilisation"} <= set(content["layers"][0])
    np.testing.assert_array_equal(np.load(logits), golden.run(model, images[:4]))
    assert "bit_exact: true" in capsys.readouterr().out


def test_golden_device(tmp_path, capsys, model, images):
    """Logits to a file; the likeliest classes of the first images on the screen, of all in the report."""
    logits, report = tmp_path / "logits.npy", tmp_path / "run.json"
    files = ["--logits", str(logits), "--report", str(report)]
    assert main(["run", MODEL, "--images", IMAGES, "--device", "golden", *files]) == 0
    np.testing.assert_array_equal(np.load(logits), golden.run(model, images))
    likeliest, classes = model.classify(golden.run(model, images)), json.loads(report.read_text())["classes"]
    assert classes == [
        {"image": str(number), "top": [asdict(candidate) for candidate in best]}
        for number, best in enumerate(likeliest)
    ]
    lines = capsys.readouterr().out.splitlines()
    first, second = likeliest[0][:2]
    row = next(line.split() for line in lines if line.split()[:1] == ["0"])
    assert row[:5] == ["0", first.name, f"{first.probability:.1%}", f"{first.integer:,}", second.name]
    assert lines[-1] == f"and {len(images) - 10} more images, which --json writes"


def test_mismatch_is_reported(tmp_path, capsys, monkeypatch):
    """--check finds what a wrong device would return: exit status 1 and the place."""
    monkeypatch.setattr(Accelerator, "run", lambda _, images, **__: np.zeros((len(images), 10), np.int32))
    report = tmp_path / "run.json"
    arguments = ["run", MODEL, "--images", IMAGES, "--count", "1", "--device", "sim:tiny", "--check"]
    monkeypatch.setattr(Accelerator, "profile", lambda _: SimpleNamespace(cycles=0))
    assert main([*arguments, "--report", str(report)]) == 1
    content = json.loads(report.read_text())
    assert content["bit_exact"] is False
    assert {"tensor", "index", "expected", "actual"} <= set(content["first_difference"])
    assert "first difference: tensor" in capsys.readouterr().out


def damaged(tmp_path, change):
    raw = bytearray(Path(MODEL).read_bytes())
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(change(raw))
    return str(path)


def flipped(raw):
    raw[-100] ^= 0x40
    return raw


def saved(tmp_path, array):
    np.save(tmp_path / "array.npy", array)
    return str(tmp_path / "array.npy")


CASES = {
    "truncated model": (lambda t: ["inspect", damaged(t, lambda raw: raw[:5000])], "is not a whole safetensors file"),
    "tampered model": (lambda t: ["inspect", damaged(t, flipped)], "was changed after it was written"),
    "no such model": (lambda t: ["inspect", str(t / "none")], "there is no model file"),
    "unknown board": (lambda _: ["compile", MODEL, "--board", "nexys"], "unknown board 'nexys'; known boards: arty_a7"),
    "unknown key": (lambda _: ["compile", MODEL, "--set", "row=8"], "unknown config key 'row'; known keys: rows"),
    "bad value": (lambda _: ["compile", MODEL, "--set", "rows=many"], "rows must be an integer, not 'many'"),
    "impossible value": (lambda _: ["compile", MODEL, "--set", "rows=12"], "rows must be a power of two from 8 to 32"),
    "too small a scratchpad": (lambda _: ["compile", MODEL, "--set", "bank_words=64"], "wants .* scratchpad words"),
    "wrong image size": (
        lambda t: ["run", MODEL, "--images", saved(t, np.zeros((2, 1, 9, 9), np.uint8))],
        r"must hold images \[n, 1, 8, 8\], not \[2, 1, 9, 9\]",
    ),
    "float images": (lambda t: ["run", MODEL, "--images", saved(t, np.zeros((2, 1, 8, 8)))], "must hold uint8 or int8"),
    "not an array": (lambda _: ["run", MODEL, "--images", MODEL], "is not a whole image"),
    "no images": (lambda t: ["run", MODEL, "--images", saved(t, np.zeros((0, 1, 8, 8), np.uint8))], "holds no images"),
    "unknown device": (
        lambda _: ["run", MODEL, "--images", IMAGES, "--device", "usb:1"],
        "unknown device scheme 'usb'",
    ),
    "unknown simulated board": (lambda _: ["run", MODEL, "--images", IMAGES, "--device", "sim:nexys"], "nexys"),
    "bad batch": (lambda _: ["compile", MODEL, "--batch", "0"], "batch must be from 1 to 64, not 0"),
    "labels too few": (
        lambda t: ["run", MODEL, "--images", IMAGES, "--labels", saved(t, np.zeros(3)), "--device", "golden"],
        "must hold at least 360 class numbers",
    ),
    "report nowhere": (
        lambda t: ["run", MODEL, "--images", IMAGES, "--device", "golden", "--report", str(t / "no" / "r.json")],
        "r.json: there is no directory ",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_gives_one_sentence(case, tmp_path, capsys):
    arguments, message = CASES[case]
    assert main(arguments(tmp_path)) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert re.search(message, captured.err), captured.err

"""Texts through the host API and the command line: features, files, and bad input in a sentence."""

import io
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file

import firmware
from firmware.__main__ import main
from firmware.errors import UserError
from firmware.make_model import float_weights
from firmware.model_file import load_model, save_model
from firmware.text import Tokenizer, encode, sums
from firmware.text.encode import tokens_of
from hw.spec.model import ModelError
from tests.firmware.test_bert import hugging_face
from tests.support.bert import VOCABULARY, random_bert, random_ids, shape_of, word_tokenizer
from tests.support.models import random_model

TEXTS = ["w1 w2 w3", "w9", "w1 w2 w4 w5 w6 w7 w8", "w3 w2 w1"]


@pytest.fixture(scope="module")
def model():
    return replace(random_bert(), tokenizer=word_tokenizer())


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "model.safetensors"
    save_model(model, path)
    return str(path)


@pytest.fixture
def lines(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(TEXTS) + "\n")
    return str(path)


def test_features_have_length_1_and_the_order_of_the_texts(model):
    with firmware.open("golden") as device:
        device.load(model)
        found = encode(device, TEXTS)
        assert found.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)
        for number, text in enumerate(TEXTS):
            np.testing.assert_array_equal(encode(device, [text])[0], found[number])
        assert encode(device, []).shape == (0, model.classes)


def test_tokens_end_where_the_text_does(model):
    """Whatever padding and truncation the tokenizer was saved with."""
    assert [len(ids) for ids in tokens_of(model, TEXTS)] == [5, 3, 9, 5]
    assert len(tokens_of(model, [" ".join(["w1"] * 100)])[0]) == 102


def test_the_tokenizer_travels_with_the_model(model, file):
    assert load_model(file).tokenizer == model.tokenizer
    assert load_model(file).tensors.keys() == model.tensors.keys()


def test_embed_and_search(file, lines, tmp_path, capsys, monkeypatch):
    output, integers = str(tmp_path / "out.npy"), str(tmp_path / "integers.npy")
    assert main(["embed", file, "--text", lines, "-o", output, "--integers", integers, "--check"]) == 0
    assert "4 texts of 3 to 9 tokens, 64 features each" in capsys.readouterr().out
    with firmware.open("golden") as device:
        device.load(load_model(file))
        np.testing.assert_array_equal(np.load(output), encode(device, TEXTS))
        np.testing.assert_array_equal(np.load(integers), sums(device, device.model, tokens_of(device.model, TEXTS)))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"w1 w2 w3\nw9"), encoding="utf-8"))
    assert main(["embed", file, "--text", "-", "-o", output]) == 0
    assert len(np.load(output)) == 2
    capsys.readouterr()
    assert main(["search", file, "w9", "--text", lines, "--count", "1"]) == 0
    said = capsys.readouterr().out
    assert "1.000" in said
    assert "w9" in said


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "there is no text in"),
        (b"w1\n\nw2\n", "line 2 of"),
        (b"\xff\xfe\x00", "must be text in UTF-8"),
        (b"w1\n" + b"w2 " * 299 + b"\n", "text 2 has 301 tokens"),
    ],
)
def test_bad_texts(file, tmp_path, capsys, content, message):
    path, output = tmp_path / "bad.txt", tmp_path / "out.npy"
    path.write_bytes(content)
    assert main(["embed", file, "--text", str(path), "-o", str(output)]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.strip().splitlines()) == 1
    assert not output.exists()


def test_bad_use_of_the_api(model):
    with firmware.open("golden") as device:
        with pytest.raises(UserError, match="no model is loaded"):
            encode(device, TEXTS)
        device.load(model)
        with pytest.raises(UserError, match="text 2 must not be empty, but is ' '"):
            encode(device, ["w1", " "])
        with pytest.raises(ModelError, match="reads texts of 1 to 300 tokens, not of 400"):
            device.load(model, tokens=400)
        device.load(replace(model, tokenizer=""))
        with pytest.raises(UserError, match="has no tokenizer: quantize it again with --tokenizer"):
            encode(device, TEXTS)
        device.load(replace(model, tokenizer="{}"))
        with pytest.raises(UserError, match="is no tokenizer that the library tokenizers knows"):
            encode(device, TEXTS)
        device.load(random_model())
        with pytest.raises(UserError, match="reads images, not text"):
            encode(device, TEXTS)
        with pytest.raises(ModelError, match="reads images, not text"):
            device.load(random_model(), tokens=4)


def test_another_networks_tokenizer(model):
    made = Tokenizer(model.tokenizer, "x")
    with pytest.raises(UserError, match="has token number 12, but the model knows 10: it is another network's"):
        made.numbers(["w9"], 10, 300)


def test_without_the_library(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(UserError, match=r"text needs the library tokenizers: pip install 'shiftwork\[text\]'"):
        Tokenizer(model.tokenizer, "x")


# quantize


@pytest.fixture
def checkpoint(tmp_path):
    folder = tmp_path / "network"
    folder.mkdir()
    save_file(hugging_face(float_weights(shape_of())), folder / "model.safetensors")
    (folder / "tokenizer.json").write_text(word_tokenizer())
    (folder / "config.json").write_text(json.dumps({"num_attention_heads": 2, "hidden_act": "gelu"}))
    return folder


@pytest.fixture
def calibration(tmp_path):
    path = tmp_path / "calibration.txt"
    rows = (random_ids(1, tokens, seed=9)[0] % (VOCABULARY - 3) for tokens in (3, 8, 5, 14, 6, 3, 9, 11))
    path.write_text("\n".join(" ".join(f"w{word}" for word in row) for row in rows))
    return str(path)


def test_quantize(checkpoint, calibration, tmp_path, capsys):
    output, report = str(tmp_path / "model.safetensors"), str(tmp_path / "report.json")
    command = ["quantize", str(checkpoint / "model.safetensors"), "--calibrate", calibration, "-o", output]
    assert main([*command, "--report", report, "--budget", "1.3"]) == 0
    said = capsys.readouterr().out
    assert "\n2 heads of 32 channels\n" in said
    assert "assumed: the feature is the mean of the tokens behind the last norm" in said
    made, found = load_model(output), json.loads((tmp_path / "report.json").read_text())
    assert made.image == (1, 32, 128)
    assert made.tokenizer
    assert found["wide"]
    assert found["budget"]["cycles"] <= 1.3 * found["budget"]["cycles_all_8_bit"]
    assert found["end_to_end"]["logit_cosine"] > 0.995
    assert {trial["images"] for trial in found["trials"]} == {2}
    with firmware.open("golden") as device:
        device.load(made)
        assert encode(device, TEXTS).shape == (4, 64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "tokenizer.json").unlink(), "there is no tokenizer.json beside"),
        (lambda folder: (folder / "tokenizer.json").write_text("{"), "is no tokenizer that the library"),
        (lambda folder: (folder / "config.json").write_text("["), "config.json is no JSON object"),
        (lambda folder: (folder / "config.json").write_text('{"hidden_act": "relu"}'), "the graph wants an exact GELU"),
        (lambda folder: (folder / "config.json").write_text('{"is_decoder": true}'), "the graph wants an encoder"),
        (lambda folder: (folder / "config.json").write_text('{"num_attention_heads": 5}'), "number of heads 5"),
    ],
)
def test_bad_checkpoints(checkpoint, calibration, tmp_path, capsys, change, message):
    change(checkpoint)
    output = tmp_path / "model.safetensors"
    command = ["quantize", str(checkpoint / "model.safetensors"), "--calibrate", calibration, "-o", str(output)]
    assert main(command) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert len(said.splitlines()) == 1
    assert not output.exists()


def test_a_decoder_is_refused(checkpoint, calibration, tmp_path, capsys):
    weights = hugging_face(float_weights(shape_of()))
    weights["encoder.layer.0.crossattention.self.query.weight"] = np.zeros((4, 4), np.float32)
    save_file(weights, checkpoint / "model.safetensors")
    output = str(tmp_path / "model.safetensors")
    assert main(["quantize", str(checkpoint / "model.safetensors"), "--calibrate", calibration, "-o", output]) == 2
    assert "the network has a decoder" in capsys.readouterr().err


def test_options_of_images_are_refused(checkpoint, calibration, tmp_path, capsys):
    output = str(tmp_path / "model.safetensors")
    command = ["quantize", str(checkpoint / "model.safetensors"), "--calibrate", calibration, "-o", output]
    assert main([*command, "--crop", "0.9"]) == 2
    assert "reads text: --crop is for networks of images" in capsys.readouterr().err


def test_other_commands(file, capsys):
    assert main(["inspect", file]) == 0
    said = capsys.readouterr().out
    assert "texts of 16 tokens" in said
    assert "texts of 1 to 300 tokens, 50 words" in said
    assert "64 features of the mean of tokens" in said
    assert main(["estimate", file, "--tokens", "9", "--batch", "3"]) == 0
    assert main(["compile", file, "--tokens", "301"]) == 2
    assert "reads texts of 1 to 300 tokens, not of 301" in capsys.readouterr().err
    assert main(["run", file, "--images", "x.png"]) == 2
    assert "reads text: python -m firmware embed runs it" in capsys.readouterr().err

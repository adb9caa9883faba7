"""A small BERT, whole, through the host API on the compiled gateware: bit-exact at many lengths of text."""

import time
from dataclasses import replace

import numpy as np
import pytest

import firmware
from firmware.__main__ import main
from firmware.device import Accelerator
from firmware.locate import locate
from firmware.model_file import save_model
from firmware.text import encode, sums
from hw.spec.isa import Region
from sim import golden
from sim.cycles import predict
from tests.support.bert import LINEARS, random_bert, random_ids, rows_of, word_tokenizer

LENGTHS = (1, 2, 7, 7, 7, 16, 31, 64, 128, 256)


@pytest.mark.parametrize(
    "how",
    [{}, {"wide": LINEARS, "pool": "token"}, {"recipe": "official", "bits": 8}],
    ids=["8-bit", "16-bit, first token", "Shiftmax and ShiftGELU"],
)
def test_every_length(how):
    model = random_bert(**how)
    ids = [random_ids(1, tokens, seed=number)[0] for number, tokens in enumerate(LENGTHS)]
    with firmware.open("golden") as device:
        expected = sums(device, model, ids)
    with firmware.open("sim:arty_a7") as device:
        found = sums(device, model, ids)
    np.testing.assert_array_equal(found, expected)


def test_cycles_are_those_of_the_cycle_model():
    model = random_bert(dim=128, hidden=512, heads=4).of_tokens(32)
    images = rows_of(model, random_ids(2, 32))
    with Accelerator.open("sim:arty_a7") as device:
        program = device.load(model, batch=2)
        np.testing.assert_array_equal(device.run(images), golden.run(model, images))
        assert predict(program).cycles == pytest.approx(device.profile().cycles, rel=0.02)


@pytest.mark.parametrize("target", ["sim:tiny?random=5", "sim:tiny"])
def test_exact_whatever_the_memory_does(target):
    model = random_bert(wide=("mlp.fc2",)).of_tokens(9)
    images = rows_of(model, random_ids(3, 9))
    with Accelerator.open(target) as device:
        device.load(model, batch=3)
        np.testing.assert_array_equal(device.run(images), golden.run(model, images))


def test_the_command(tmp_path, capsys):
    """Golden and the simulated board give equal integers."""
    path, lines = tmp_path / "model.safetensors", tmp_path / "lines.txt"
    save_model(replace(random_bert(), tokenizer=word_tokenizer()), path)
    lines.write_text("w1 w2 w3\nw4\nw5 w6 w7\n")
    command = ["embed", str(path), "--text", str(lines), "-o", str(tmp_path / "out.npy")]
    found = []
    for device in ("golden", "sim:arty_a7"):
        integers = tmp_path / "integers.npy"
        assert main([*command, "--integers", str(integers), "--device", device, "--check"]) == 0
        found.append(np.load(integers))
    np.testing.assert_array_equal(*found)
    assert "3 texts of 3 to 5 tokens" in capsys.readouterr().out


def test_a_length_is_compiled_once_and_constants_are_written_once(monkeypatch):
    model = replace(random_bert(), tokenizer=word_tokenizer())
    with Accelerator.open("sim:arty_a7") as device:
        device.load(model, tokens=5)
        base = device._layout.bases[Region.MODEL]
        written, write = [], device.transport.write
        monkeypatch.setattr(device.transport, "write", lambda at, data: (written.append(at), write(at, data)))
        encode(device, ["w1 w2", "w1 w2 w3", "w4 w5 w6"])
        assert base not in written
        compiled = dict(device._programs)
        encode(device, ["w7 w8", "w3 w2 w1", "w6 w5 w4"])
        assert device._programs == compiled
        assert all(device._programs[key] is program for key, program in compiled.items())


def test_a_new_length_takes_a_moment():
    """Under a second with MiniLM's sizes; this has a sixth of its blocks."""
    model = random_bert(dim=384, hidden=1536, heads=12, depth=1)
    with Accelerator.open("sim:arty_a7") as device:
        device.load(model, tokens=5)
        start = time.process_time()
        device.load(model, tokens=32, batch=2)
        assert time.process_time() - start < 1


def test_first_difference_is_found():
    model = random_bert().of_tokens(6)
    name = "blocks.1.mlp.fc1.weight"
    flipped = model.tensors[name].copy()
    flipped[0] ^= 64
    wrong = replace(model, tensors={**model.tensors, name: flipped})
    images, trace = rows_of(model, random_ids(1, 6)), {}
    golden.run(model, images, trace)
    with Accelerator.open("sim:arty_a7") as device:
        assert locate(device, model, images, trace) is None
        assert locate(device, wrong, images, trace)["tensor"] == "pool"

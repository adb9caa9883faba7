"""Integer model files: round trip, and one sentence for every way a file can be wrong."""

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from firmware.model_file import load_model, save_model
from hw.spec.model import ModelError
from tests.support.models import random_model


@pytest.fixture(scope="module")
def model():
    return random_model(seed=3, dim=32, depth=1, hidden=64)


@pytest.fixture
def path(model, tmp_path):
    save_model(model, tmp_path / "m.safetensors")
    return tmp_path / "m.safetensors"


def header_of(path):
    raw = path.read_bytes()
    return json.loads(json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])["__metadata__"]["shiftwork"])


def test_round_trip(model, path):
    again = load_model(path)
    assert again.nodes == model.nodes
    assert replace(again, tensors={}, logit_scale=None, nodes=()) == replace(
        model, tensors={}, logit_scale=None, nodes=()
    )
    assert again.tensors.keys() == model.tensors.keys()
    for name, array in model.tensors.items():
        assert again.tensors[name].dtype == array.dtype
        np.testing.assert_array_equal(again.tensors[name], array)


def test_same_model_same_bytes(model, path, tmp_path):
    save_model(model, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("kept", [0, 7, 100, 0.5, 0.999])
def test_truncated(path, kept):
    raw = path.read_bytes()
    path.write_bytes(raw[: kept if isinstance(kept, int) else int(len(raw) * kept)])
    with pytest.raises(ModelError, match="is not a whole safetensors file"):
        load_model(path)


def test_tampered_weight(path):
    raw = bytearray(path.read_bytes())
    raw[-5] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ModelError, match="was changed after it was written: digest"):
        load_model(path)


def rewrite(path, change):
    """The file with its header changed and its digest left alone."""
    header = header_of(path)
    change(header)
    save_file(load_file(path), path, metadata={"shiftwork": json.dumps(header)})


def test_tampered_graph(path):
    rewrite(path, lambda header: header["nodes"][2][3].update(bits=8))
    with pytest.raises(ModelError, match="was changed after it was written"):
        load_model(path)


def test_other_version(path):
    rewrite(path, lambda header: header.update(version=99))
    with pytest.raises(ModelError, match="has model file version 99, but this program reads 2"):
        load_model(path)


def test_missing_header_entry(path):
    rewrite(path, lambda header: header.pop("digest"))
    with pytest.raises(ModelError, match="malformed header"):
        load_model(path)


def test_foreign_file(tmp_path):
    save_file({"x": np.zeros(3, np.float32)}, tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match="not a Shiftwork integer model"):
        load_model(tmp_path / "x.safetensors")


def test_absent_file(tmp_path):
    with pytest.raises(ModelError, match="there is no model file"):
        load_model(tmp_path / "none.safetensors")


def test_invalid_model_is_not_written(model, tmp_path):
    bad = replace(model, classes=model.classes + 1)
    with pytest.raises(ModelError):
        save_model(bad, tmp_path / "bad.safetensors")
    assert not list(tmp_path.iterdir())

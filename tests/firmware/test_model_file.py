"""Integer model files: round trip, and one sentence for every way a file can be wrong."""

import json
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from firmware.model_file import _digest, load_model, save_model
from hw.spec.model import ModelError, validate
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


STRANGE = (
    None, True, 0, -1, 1 << 70, 1.5, float("inf"), float("nan"), "", "input", [], [[]], {}, {"x": 1}, ["qact1"] * 3,
)  # fmt: skip


def places(value, at=()):
    """Where something is in a header, as paths of keys."""
    yield at
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*at, key))


def test_strange_headers_with_a_right_digest(path):
    """Anything in the place of anything: one sentence, or a model that is one."""
    header, tensors = header_of(path), load_file(path)
    del header["digest"]
    answers, rng = [], np.random.default_rng(0)
    everywhere = [at for at in places(header) if at]
    for at in everywhere[:60] + [everywhere[k] for k in rng.choice(len(everywhere), 90, replace=False)]:
        for value in (STRANGE[k] for k in rng.choice(len(STRANGE), 4, replace=False)):
            changed = deepcopy(header)
            inside = changed
            for key in at[:-1]:
                inside = inside[key]
            inside[at[-1]] = value
            metadata = {"shiftwork": json.dumps({**changed, "digest": _digest(changed, tensors)})}
            save_file(tensors, path, metadata=metadata)
            try:
                validate(load_model(path))
            except ModelError as error:
                answers.append(str(error))
            else:
                answers.append("a model")
    assert not [answer for answer in answers if "\n" in answer]
    assert answers.count("a model") < len(answers) // 4


def test_deep_header(path):
    save_file(load_file(path), path, metadata={"shiftwork": "[" * 100_000})
    with pytest.raises(ModelError, match="malformed header"):
        load_model(path)


@pytest.mark.parametrize(("kind", "shape"), [("F8_E4M3", [1]), ("U8", [1] * 200)])
def test_tensors_that_numpy_does_not_have(tmp_path, kind, shape):
    header = json.dumps({"x": {"dtype": kind, "shape": shape, "data_offsets": [0, 1]}}).encode()
    (tmp_path / "m").write_bytes(len(header).to_bytes(8, "little") + header + b"\0")
    with pytest.raises(ModelError, match=r"has a tensor that is no integer array|is not a whole safetensors file"):
        load_model(tmp_path / "m")


@pytest.mark.parametrize("change", [{"std": (1.0, -1.0, 1.0)}, {"std": (1.0, 1.0, float("nan"))}, {"mean": (0.0, 0.0)}])
def test_statistics(model, tmp_path, change):
    with pytest.raises(ModelError, match="mean and std must be 3 finite numbers each, std above 0, not"):
        save_model(replace(model, **change), tmp_path / "m")


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

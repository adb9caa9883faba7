"""An operator, a family and a board from files of their own, the tree untouched: docs/extending.md's promise."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from firmware.compiler import CompileError, compile_model
from firmware.device import Accelerator
from firmware.families import registered as family
from hw.build import command
from hw.spec.config import Config
from hw.spec.model import Model, ModelError, Node, validate
from hw.spec.operators import registered as operator
from hw.spec.vector import registered as opcode
from hw.vector.row_units import with_units
from sim import golden
from tests.firmware.test_compiler import execute

ROOT = Path(__file__).parents[1]
FILES = ROOT / "examples" / "extending"


def extension(name):
    spec = importlib.util.spec_from_file_location(name, FILES / f"{name}.py")
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def extended():
    """LEAKY and PatchNet, for as long as a test lasts."""
    leaky, patchnet = extension("leaky"), extension("patchnet")
    with (
        operator(leaky.Leaky), opcode(leaky.LEAKY), with_units(LEAKY=leaky.LeakyUnit), family(patchnet.PatchNet()),
    ):  # fmt: skip
        yield leaky


CONFIG = {"rows": 8, "cols": 4, "tokens": 32, "bank_words": 512, "stream_words": 128, "array": "portable"}


def patchnet(dim=24, classes=5, by=3):
    rng = np.random.default_rng(1)
    mult, shift = np.array([1 << 30]), np.array([36], np.int8)
    tensors = {
        "embed.weight": rng.integers(-128, 128, (dim, 27)).astype(np.int8),
        "embed.bias": rng.integers(-9999, 9999, dim).astype(np.int32),
        "quant.mult": mult, "quant.shift": shift,
        "head.weight": rng.integers(-128, 128, (classes, dim)).astype(np.int8),
        "head.bias": rng.integers(-9999, 9999, classes).astype(np.int32),
    }  # fmt: skip
    nodes = (
        Node("input", "input"), Node("embed", "patch_embed", ("input",), {"patch": 3}),
        Node("quant", "requantize", ("embed",), {"bits": 8}), Node("leaky", "leaky", ("quant",), {"by": by}),
        Node("first", "class_token", ("leaky",)), Node("head", "linear", ("first",)),
    )  # fmt: skip
    return Model(
        name="patchnet", image=(3, 3, 15), classes=classes, nodes=nodes, tensors=tensors, input_scale=1 / 64,
        mean=(0.0,) * 3, std=(1.0,) * 3, logit_scale=np.full(classes, 2**-10, np.float32),
    )  # fmt: skip


@pytest.mark.usefixtures("extended")
def test_operator_and_family(tmp_path):
    """Compiled, on the machine model, and on the gateware, which has the new unit and lacks all others."""
    model, config = patchnet(), Config(**CONFIG, vector=("leaky",))
    validate(model)
    images = np.random.default_rng(2).integers(-128, 128, (4, *model.image)).astype(np.int8)
    trace = {}
    logits = golden.run(model, images, trace)
    assert np.array_equal(trace["leaky"], np.where(trace["quant"] < 0, trace["quant"] >> 3, trace["quant"]))
    assert (trace["quant"] < -8).any()
    program = compile_model(model, config, batch=2)
    np.testing.assert_array_equal(execute(program, images[:2]), logits[:2])
    with Accelerator.open(f"sim:tiny?cache={tmp_path}", config) as device:
        device.load(model, batch=2)
        np.testing.assert_array_equal(device.run(images), logits)


@pytest.mark.usefixtures("extended")
def test_what_is_not_there_is_refused():
    with pytest.raises(CompileError, match="needs the unit leaky"):
        compile_model(patchnet(), Config(**CONFIG))
    with pytest.raises(ModelError, match="by of leaky must be from 1 to 7, not 8"):
        validate(patchnet(by=8))


def test_without_the_extension_nobody_knows_it():
    with pytest.raises(ModelError, match="unknown operator 'leaky'"):
        validate(patchnet())


def test_board(tmp_path, capsys):
    """A file with a board is built as those of the tree are."""
    file = str(FILES / "arty_s7.py")
    assert command.main(["--board", file, "--dry-run", "--out", str(tmp_path / "out")]) == 0
    assert "Digilent Arty S7-50 (xc7s50csga324-1): 16 x 8 int8 array" in capsys.readouterr().out
    assert command.main(["--board", file, "--set", "array=ecp5", "--dry-run", "--out", str(tmp_path / "out")]) == 2
    assert "array must be dsp48 or portable" in capsys.readouterr().err


def test_the_page_shows_these_files():
    page = (ROOT / "docs" / "extending.md").read_text()
    for name in ("leaky", "patchnet", "arty_s7"):
        assert (FILES / f"{name}.py").read_text() in page, name

"""`import firmware`: its names, and the golden model as a device like the others."""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import firmware
from firmware.devices import Golden
from firmware.errors import UserError
from firmware.names import PLACES
from firmware.preprocess import to_int8
from hw.boards.registry import BOARDS
from hw.spec.liveness import live_macs
from sim import golden as sim_golden

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "examples/digits/digits.safetensors"
IMAGES = np.load(ROOT / "examples/digits/images.npy")[:3]


def test_nothing_is_imported_until_it_is_used():
    code = "import firmware, sys; print(*sys.modules); firmware.Config; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    before, after = (set(line.split()) for line in done.stdout.splitlines())
    assert not before & {"numpy", "amaranth", "rich", "safetensors", "torch", "sim", "hw"}
    assert "hw.spec.config" in after - before


def test_every_name_is_there_for_readers_and_type_checkers_too():
    tree = ast.parse((ROOT / "firmware/__init__.py").read_text())
    checked = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {alias.asname or alias.name: f"{line.module}:{alias.name}" for line in checked.body for alias in line.names}
    assert typed == PLACES
    assert set(firmware.__all__) == {*PLACES, "__dir__", "__getattr__"}
    for name in PLACES:
        assert callable(getattr(firmware, name))
        assert name in dir(firmware)
    with pytest.raises(AttributeError, match="module 'firmware' has no attribute 'close'"):
        _ = firmware.close


@pytest.mark.parametrize("target", ["golden", "golden?threads=2", "sim:tiny?memory=8"])
def test_every_device_gives_the_same(target, tmp_path):
    """From a model file to classes, by these names alone."""
    model = firmware.load_model(DIGITS)
    assert firmware.save_model(model, tmp_path / "again.safetensors") == (tmp_path / "again.safetensors").stat().st_size
    model = firmware.load_model(tmp_path / "again.safetensors")
    with firmware.open(target) as device:
        for loaded in (model, firmware.compile_model(model, firmware.board("tiny"), batch=2)):
            device.load(loaded)
            logits = device.run(IMAGES)
            np.testing.assert_array_equal(logits, sim_golden.run(model, to_int8(IMAGES, model)))
            profile = device.profile()
            macs = sum(live_macs(model).values()) if device.clocked else model.macs
            assert (profile.images, profile.macs) == (3, 3 * macs)
            assert (profile.cycles > 0) == (profile.utilisation > 0) == device.clocked == target.startswith("sim")
    assert [best[0].name for best in model.classify(logits)] == ["7", "6", "3"]


def test_golden_says_what_is_missing():
    golden = Golden()
    for action in (lambda: golden.run(IMAGES), lambda: golden.trace(IMAGES)):
        with pytest.raises(firmware.DeviceError, match="no model is loaded: call load first"):
            action()
    golden.load(firmware.load_model(DIGITS))
    with pytest.raises(firmware.DeviceError, match="nothing to profile: run images first"):
        golden.profile()
    with pytest.raises(firmware.DeviceError, match="there are no images to run"):
        golden.run(IMAGES[:0])
    with pytest.raises(UserError, match="images"):
        golden.run(IMAGES[:, :, :4])


def test_golden_traces_every_operator():
    model = firmware.load_model(DIGITS)
    golden = Golden()
    golden.load(model)
    trace = golden.trace(IMAGES)
    assert trace.keys() == {node.name for node in model.nodes}
    np.testing.assert_array_equal(trace[model.nodes[-1].name], golden.run(IMAGES))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("golden?speed=9", "unknown option 'speed' of the golden model; it has threads"),
        ("golden?threads=0", "the golden model runs on at least 1 thread, not 0"),
        ("golden?threads=two", "option threads must be an integer, not 'two'"),
        ("silver", "a device is written scheme:name, for example sim:arty_a7, not 'silver'"),
        ("sim:zybo", "unknown board 'zybo'; known boards: arty_a7, "),
        ("usb:1", "unknown device scheme 'usb'; known schemes: serial, sim, udp"),
    ],
)
def test_what_cannot_be_opened_is_told_in_one_sentence(target, message):
    with pytest.raises(firmware.DeviceError, match=message.replace("?", r"\?")) as caught:
        firmware.open(target)
    assert "\n" not in str(caught.value)


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "serial", None)
    monkeypatch.delitem(sys.modules, "firmware.link.serial", raising=False)
    with pytest.raises(firmware.DeviceError, match="needs the Python module serial: pip install pyserial"):
        firmware.open("serial:/dev/ttyUSB0")


def test_a_board_and_its_config_are_both_compiled_for():
    model, board = firmware.load_model(DIGITS), BOARDS["ulx3s_85f"]
    assert firmware.compile_model(model, board).memory == board.core_memory
    assert firmware.compile_model(model, board.config).config == board.config

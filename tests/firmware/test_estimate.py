"""What a model will cost: the figures, the file, the command, and that they are what the gateware shows."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from firmware.__main__ import main
from firmware.cli import estimate as command
from firmware.compiler import compile_model
from firmware.device import Accelerator
from firmware.estimate import estimate, print_estimate
from firmware.model_file import load_model
from firmware.transport import DeviceError
from hw.boards.registry import BOARDS, find
from hw.spec.isa import INSTRUCTION_BYTES
from hw.spec.liveness import live_macs
from tests.support.models import random_model
from tests.support.swin import random_swin

DIGITS = Path(__file__).parents[2] / "examples/digits/digits.safetensors"


def run(*arguments):
    return main(["estimate", str(DIGITS), *map(str, arguments)])


def test_command(tmp_path, capsys):
    file = tmp_path / "estimate.json"
    assert run("--board", "ulx3s_85f", "--set", "tokens=128", "--batch", 2, "--json", file) == 0
    found = json.loads(file.read_text())
    board, model = find("ulx3s_85f").override({"tokens": "128"}), load_model(DIGITS)
    program = compile_model(model, board, batch=2)
    expected = estimate(program, board)
    assert found == json.loads(json.dumps(expected.as_json()))
    assert (found["board"], found["clock_mhz"], found["batch"]) == ("ulx3s_85f", 80.0, 2)
    assert found["config"]["tokens"] == 128
    assert found["memory"]["rate"] == 16
    assert found["images_per_second"] == pytest.approx(80e6 / found["cycles_per_image"])
    executed = sum(live_macs(model).values())
    assert found["utilisation"] == pytest.approx(executed / found["cycles_per_image"] / 128)
    assert found["bytes_per_image"] == sum(layer["bytes"] for layer in found["layers"])
    assert sum(layer["macs"] for layer in found["layers"]) == found["macs_per_image"] == executed
    assert {layer["name"]: layer["op"] for layer in found["layers"]}["blocks.0.mlp.fc1"] == "linear"
    assert all(layer["cycles"] > 0 for layer in found["layers"])
    output = capsys.readouterr()
    assert "estimated by the cycle model" in output.out
    assert "images/s at 80 MHz" in output.out
    assert output.err.splitlines() == ["compiling digits for ulx3s_85f ...", "predicting its cycles ..."]


def test_the_whole_computation(tmp_path):
    """Also what reaches no output."""
    model, found = load_model(DIGITS), {}
    for option in ([], ["--whole"]):
        assert run(*option, "--json", tmp_path / "estimate.json") == 0
        found[len(option)] = json.loads((tmp_path / "estimate.json").read_text())
    assert found[0]["macs_per_image"] < found[1]["macs_per_image"] == model.macs
    assert found[0]["cycles_per_image"] < found[1]["cycles_per_image"]


def test_figures_are_the_gatewares():
    """Cycles within 2 %, and every byte that the simulated memory moved: the program's own besides."""
    model, board = load_model(DIGITS), BOARDS["tiny"]
    with Accelerator.open("sim:tiny?memory=8") as device:
        program = device.load(model, batch=2)
        device.run(np.zeros((2, *model.image), np.uint8))
        profile, moved = device.profile(), device.transport.statistics
    found = estimate(program, board)
    assert found.cycles == pytest.approx(profile.cycles, rel=0.02)
    beats = moved.read_beats + moved.write_beats
    assert found.bytes_per_image * 2 + program.instructions * INSTRUCTION_BYTES == beats * board.config.word_bytes
    for engine in profile.engines:
        assert found.busy[engine.name] == pytest.approx(engine.busy / profile.cycles, abs=0.01)


def test_the_scratchpad_that_is_used():
    """As much as the addresses of its instructions reach, where they leave no hole: one slot of one bank."""
    model = random_model(dim=64, depth=1)
    board = BOARDS["arty_a7"]
    program = compile_model(model, board)
    assert 0 < program.scratch_words <= board.config.scratch_words
    most = max(o["scratch"] + o["run"] * o["count1"] * o["count2"] for o in operands(program, "LOAD"))
    assert most <= board.config.scratch_words
    larger = compile_model(random_model(image=(3, 64, 64), dim=64, depth=1), board)
    assert larger.scratch_words > program.scratch_words


def operands(program, name):
    return [instruction.operands for instruction in program.disassemble() if instruction.op.name == name]


@pytest.mark.parametrize("make", [random_model, random_swin])
def test_table_fits_a_terminal(make):
    board = BOARDS["arty_a7"]
    console = Console(width=80, file=StringIO())
    print_estimate(estimate(compile_model(make(), board), board), console)
    text = console.file.getvalue()
    assert "…" not in text
    assert "mlp.fc1" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--board", "zybo"], "unknown board 'zybo'; known boards: arty_a7, "),
        (["--set", "rows=12"], "rows must be a power of two from 8 to 32, not 12"),
        (["--set", "array=ecp5"], "array must be dsp48 or portable on arty_a7, whose fabric is 7-series, not ecp5"),
        (["--batch", "65"], "batch must be from 1 to 64, not 65"),
        (["--json", "{tmp}/none/x.json"], "x.json: there is no directory "),
    ],
)
def test_bad_input_is_refused_in_one_sentence(arguments, message, tmp_path, capsys, monkeypatch):
    """A file that cannot be written before any work is done."""
    if "--json" in arguments:
        monkeypatch.setattr(command, "compile_model", None)
    assert run(*(text.format(tmp=tmp_path) for text in arguments)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert [line.startswith("error: ") for line in error.splitlines()].count(True) == 1


def test_a_failing_estimate_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    file = tmp_path / "estimate.json"
    file.write_text("mine")
    monkeypatch.setattr(command, "estimate", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run("--json", file)
    assert file.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [file]


def test_a_memory_that_is_too_small():
    """The board's own, not the simulator's."""
    board = BOARDS["ulx3s_85f"]
    small = board.shell.simulation(1 << 16)
    program = compile_model(load_model(DIGITS), board)
    with pytest.raises(DeviceError, match="bytes of memory, but the device has 65536"):
        estimate(program, replace(board, shell=small))

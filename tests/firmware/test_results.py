"""What a person gets of a run: the likeliest classes, how fast, where figures come from; on any screen; and as JSON."""

import os
import subprocess
import sys
from dataclasses import replace
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from rich.table import Table

from firmware.__main__ import main
from firmware.device import Accelerator, DeviceError
from firmware.model_file import load_model, save_model
from firmware.preprocess import to_int8
from firmware.report import print_report
from firmware.screen import show
from hw.boards.registry import BOARDS
from hw.spec.run_report import RunReport
from sim import golden
from sim.board.board import Pty, open_board
from tests.link.test_board import Served
from tests.support.models import random_model

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "examples" / "digits"
MODEL = str(DIGITS / "digits.safetensors")


@pytest.fixture
def photographs(tmp_path):
    """Three digits as image files."""
    paths = [tmp_path / f"digit {number}.png" for number in range(3)]
    for path, pixels in zip(paths, np.load(DIGITS / "images.npy"), strict=False):
        Image.fromarray(pixels[0]).save(path)
    return [str(path) for path in paths]


def expected(count):
    model = load_model(MODEL)
    images = np.load(DIGITS / "images.npy")[:count]
    return model.classify(golden.run(model, to_int8(images, model)))


@pytest.mark.parametrize("device", ["golden", "sim:tiny"])
def test_a_photograph(device, photographs, capsys, tmp_path):
    """Five classes with names, probabilities and integer logits, the same on every device."""
    report = tmp_path / "r.json"
    assert main(["run", MODEL, "--images", photographs[0], "--device", device, "--json", str(report)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    at = lines.index(["digit", "0.png"])
    best = expected(1)[0]
    wanted = [[found.name, f"{found.probability:.1%}", f"{found.integer:,}"] for found in best]
    assert [line for line in lines[at:] if line and line[0].isdigit()] == wanted
    content = msgspec.json.decode(report.read_bytes(), type=RunReport)
    assert [found.integer for found in content.classes[0].top] == [found.integer for found in best]
    assert content.classes[0].image == "digit 0.png"


def test_several_photographs(photographs, capsys):
    assert main(["run", MODEL, "--images", *photographs, "--device", "golden"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for number, best in enumerate(expected(3)):
        row = next(line for line in lines if f"digit {number}.png" in line)
        assert row.split()[2:5] == [best[0].name, f"{best[0].probability:.1%}", f"{best[0].integer:,}"]
        for other in best[1:]:
            assert f"{other.name} {other.probability:.1%}" in row


def test_a_profile_says_images_per_second(photographs, capsys, tmp_path):
    """At the clock of the board, and that it is simulated: as text, as JSON, in the plot."""
    report, plot = tmp_path / "r.json", tmp_path / "p.svg"
    files = ["--json", str(report), "--roofline", str(plot), "--check"]
    assert main(["profile", MODEL, "--images", *photographs, "--device", "sim:arty_a7", "--batch", "2", *files]) == 0
    content = msgspec.json.decode(report.read_bytes(), type=RunReport)
    assert content.figures == "simulated"
    assert (content.board, content.clock_mhz) == ("arty_a7", 125.0)
    assert content.images_per_second == pytest.approx(125e6 / content.cycles_per_image)
    text = capsys.readouterr().out
    assert f"{content.images_per_second:,.2f} images/s at 125 MHz of arty_a7" in text
    assert "(simulated)" in text
    assert "roofline, simulated" in plot.read_text(encoding="utf-8")
    assert "measured" not in text + plot.read_text(encoding="utf-8")


def test_features_are_in_the_schema_too(tmp_path):
    save_model(replace(random_model(dim=32, depth=1, hidden=64), features=True), tmp_path / "m")
    np.save(tmp_path / "x.npy", np.zeros((1, 3, 32, 32), np.uint8))
    arguments = ["run", str(tmp_path / "m"), "--images", str(tmp_path / "x.npy"), "--device", "golden"]
    assert main([*arguments, "--json", str(tmp_path / "r.json")]) == 0
    content = msgspec.json.decode((tmp_path / "r.json").read_bytes(), type=RunReport)
    assert (content.features.width, content.features.file) == (10, None)


def test_a_difference_is_in_the_schema_too(tmp_path, monkeypatch):
    monkeypatch.setattr(Accelerator, "run", lambda _, images, **__: np.zeros((len(images), 10), np.int32))
    monkeypatch.setattr("firmware.cli.run.build_report", lambda device, images, _: {"device": device, "images": images})
    arguments = ["run", MODEL, "--images", str(DIGITS / "images.npy"), "--count", "1", "--device", "sim:tiny"]
    assert main([*arguments, "--check", "--json", str(tmp_path / "r.json")]) == 1
    content = msgspec.json.decode((tmp_path / "r.json").read_bytes(), type=RunReport)
    assert content.bit_exact is False
    assert content.first_difference.image == 0


def test_a_device_that_fails_afterwards_takes_no_result_with_it(tmp_path, monkeypatch, capsys):
    """Wrong logits, and a device that cannot be opened again to find the first tensor: both are told and written."""

    def fail(*_):
        raise DeviceError("it is gone")

    monkeypatch.setattr(Accelerator, "run", lambda _, images, **__: np.zeros((len(images), 10), np.int32))
    monkeypatch.setattr("firmware.cli.run.build_report", lambda device, images, _: {"device": device, "images": images})
    monkeypatch.setattr("firmware.cli.run.locate", fail)
    arguments = ["run", MODEL, "--images", str(DIGITS / "images.npy"), "--count", "1", "--device", "sim:tiny"]
    files = ["--json", str(tmp_path / "r.json"), "--logits", str(tmp_path / "l")]
    assert main([*arguments, "--check", *files]) == 2
    content = msgspec.json.decode((tmp_path / "r.json").read_bytes(), type=RunReport)
    assert content.first_difference.tensor == "head"
    assert np.load(tmp_path / "l", allow_pickle=False).shape == (1, 10)
    out, err = capsys.readouterr()
    assert "first difference: tensor head" in out
    assert err.endswith("error: the first tensor that differs was not found: it is gone\n")


def test_a_simulated_board_is_no_measurement():
    """Who serves the pins of a simulation says so to every host, whatever the device is called."""
    served = Served(Pty(open_board(BOARDS["tiny"].config, "uart", memory_size=1 << 22)))
    try:
        with Accelerator.open(served.device) as device:
            assert served.device.startswith("serial:")
            assert device.transport.identity.simulated
            assert (device.figures, device.board.name) == ("simulated", "tiny")
    finally:
        served.stop()


LONG = ("blocks.0.attention.integer_softmax_of_a_very_long_name", "einé Klasse mit Wörtern", "1,234,567,890")


@pytest.mark.parametrize("width", [1, 20, 60, 80, 200])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_no_screen_loses_anything(width, encoding):
    table = Table(title="some names")
    for heading in ("node", "class", "number"):
        table.add_column(heading)
    table.add_row(*LONG)
    table.add_row("x", "y", "0")
    file = TextIOWrapper(BytesIO(), encoding=encoding, errors="backslashreplace")
    console = Console(file=file, width=width, record=True)
    show(table, console)
    text = console.export_text()
    assert "…" not in text
    for word in (*LONG[1].split(), LONG[0], LONG[2]):
        assert word in text
    assert console.width == width
    if width >= 84:  # what whole words need
        assert max(map(len, text.splitlines())) <= width


def test_columns_that_do_not_fold():
    table = Table()
    table.add_column("a", no_wrap=True)
    table.add_column("b")
    table.add_row("one two three", "four five six")
    console = Console(file=StringIO(), width=20)
    show(table, console)
    assert "one two three" in console.file.getvalue()
    assert "four five six" not in console.file.getvalue()


@pytest.mark.parametrize("command", [["inspect", MODEL], ["run", "--device", "golden", MODEL, "--images"]])
def test_an_ascii_terminal(command, photographs, tmp_path):
    """Commands end well there, 40 columns wide, and every name is whole; letters that it lacks are escaped."""
    strange = tmp_path / "été.png"
    strange.write_bytes(Path(photographs[0]).read_bytes())
    if command[-1] == "--images":
        command = [*command, str(strange), photographs[1]]
    done = subprocess.run(
        [sys.executable, "-m", "firmware", *command], capture_output=True, check=False, cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "40"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode("ascii")
    for name in (
        ("blocks.3.attn.int_softmax",)
        if command[0] == "inspect"
        else (r"\xe9t\xe9.png", f"{expected(2)[1][0].integer:,}")
    ):
        assert name in text


def test_markup_in_names_is_text():
    console = Console(file=StringIO(), width=80)
    top = [{"name": "[red]x[/red]", "probability": 0.5, "integer": 1}] * 2
    print_report({"images": 2, "classes": [{"image": "[b].png", "top": top}] * 2}, console)
    assert console.file.getvalue().count("[red]x[/red]") == 4
    assert "[b].png" in console.file.getvalue()

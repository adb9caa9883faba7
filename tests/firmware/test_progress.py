"""How far something is, where there is no terminal."""

import time
from pathlib import Path

import numpy as np
import pytest

from firmware import progress
from firmware.devices import Golden
from firmware.model_file import load_model
from firmware.preprocess import to_int8

DIGITS = Path(__file__).parents[2] / "examples" / "digits"


@pytest.fixture
def clock(monkeypatch):
    times = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: times[0])
    return times


def test_a_line_every_ten_seconds(clock, capsys):
    """What, how far, how long still; nothing for what is over before."""
    with progress.running(1_000_000) as advance:
        for second in range(1, 101):
            clock[0] = float(second)
            advance(second * 10_000)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[0] == "running: 100,000 of 1,000,000 cycles (10%), about 100 s left"
    assert lines[-1] == "running: 1,000,000 of 1,000,000 cycles (100%), about 0 s left"
    with progress.levelling() as report:
        report(1, 32)
    assert capsys.readouterr().err == ""


def test_what_was_done_before_is_not_its_pace(clock, capsys):
    """As of an evaluation that goes on; and a note."""
    with progress.shown("evaluating", "images") as show:
        show(40_000, 50_000)
        clock[0] = 3600.0
        show(41_000, 50_000, "top-1 80.00%")
        clock[0] = 7300.0
        show(49_000, 50_000)
    assert capsys.readouterr().err.splitlines() == [
        "evaluating: 41,000 of 50,000 images (82%), about 9.0 h left, top-1 80.00%",
        "evaluating: 49,000 of 50,000 images (98%), about 14 min left",
    ]


def test_a_total_that_nobody_knows(clock, capsys):
    with progress.shown("counting", "sheep") as show:
        clock[0] = 11.0
        show(5)
    assert capsys.readouterr().err == "counting: 5 sheep\n"


def test_what_nobody_can_foresee_tells_that_it_lives(monkeypatch, capsys):
    """A line at the beginning, and one every ten seconds, with what it says of itself."""
    monkeypatch.setattr(progress, "_EVERY", 0.05)
    with progress.step("compiling") as say:
        time.sleep(0.12)
        say("pass 7")
        time.sleep(0.1)
    time.sleep(0.12)
    first, *lines = capsys.readouterr().err.splitlines()
    assert first == "compiling ..."
    assert 2 <= len(lines) <= 5
    assert lines[0] == "compiling: 0 s so far"
    assert lines[-1] == "compiling: 0 s so far, pass 7"


def test_the_golden_model_counts_images(clock, capsys):
    """Whatever takes images tells how many are done."""
    model, seen = load_model(DIGITS / "digits.safetensors"), []
    images = to_int8(np.load(DIGITS / "images.npy")[:150], model)
    with Golden() as golden:
        golden.load(model)
        logits = golden.run(images, progress=seen.append)
        np.testing.assert_array_equal(logits[100:], golden.run(images[100:]))
    assert seen == [64, 128, 150]
    with progress.running(150, "images") as advance:
        clock[0] = 10.0
        advance(0)
        clock[0] = 20.0
        advance(64)
    assert capsys.readouterr().err.splitlines()[-1] == "running: 64 of 150 images (43%), about 27 s left"

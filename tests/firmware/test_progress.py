"""How far something is, where there is no terminal."""

import pytest

from firmware import progress


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

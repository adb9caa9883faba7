"""Boards from elsewhere: a file, an installed package, a program; and what is wrong with them."""

import sys
from dataclasses import replace

import pytest

from hw.boards import registry
from hw.boards.board import Board, config_and_memory
from hw.boards.fabric import ECP5, SERIES7
from hw.boards.memory import Memory
from hw.boards.registry import BOARDS, find, installed, register
from hw.build import command
from hw.spec.config import Config, ConfigError

MINE = """\
from hw.boards.board import Board
from hw.boards.fabric import ECP5
from hw.boards.memory import Memory
from hw.spec.config import Config

MINE = Board(
    name="mine", title="my board", clock_hz=40_000_000, fabric=ECP5,
    config=Config(cols=4, array="ecp5"), memory=Memory(rate=50),
)
"""


@pytest.fixture(autouse=True)
def boards(monkeypatch):
    """Whatever a test adds is forgotten."""
    monkeypatch.setattr(registry, "BOARDS", known := dict(BOARDS))
    return known


def test_a_file(tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    board = find(str(path))
    assert (board.name, board.clock_hz, board.memory.rate) == ("mine", 40_000_000, 50)
    assert find(str(path)) is board is find("mine")
    assert command.main(["--board", str(path), "--set", "rows=8", "--dry-run"]) == 0
    assert "my board: 8 x 4 int8 array" in capsys.readouterr().out


def test_an_installed_package(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.py").write_text(MINE)
    described = tmp_path / "mine-1.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1\n")
    (described / "entry_points.txt").write_text("[shiftwork.boards]\nmine = mine\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    assert "mine" in installed()
    assert command.main(["--board", "mine", "--dry-run"]) == 0
    assert "my board: 16 x 4 int8 array" in capsys.readouterr().out
    (described / "entry_points.txt").write_text("[shiftwork.boards]\nmine = mine_gone\n")
    with pytest.raises(ConfigError, match="the boards of mine_gone cannot be loaded: No module named 'mine_gone'"):
        find("other")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"there is no file .*mine\.py with a board"),
        ("from hw.boards.board import Board\n", r"mine\.py makes no Board"),
        ("1 / 0\n", r"the board in .*mine\.py cannot be loaded: division by zero"),
        (MINE.replace('"mine"', '"arty_a7"'), "there are two boards called 'arty_a7'"),
        (
            MINE.replace("ECP5", "SERIES7"),
            "array must be dsp48 or portable on mine, whose fabric is 7-series",
        ),
        (MINE.replace("rate=50", "rate=0"), "rate of a memory must be a whole number from 1, not 0"),
        (MINE.replace("rate=50", "rate=101"), "rate of a memory must be at most 100 beats per 100 cycles, not 101"),
    ],
)
def test_faulty_files(tmp_path, capsys, text, message):
    path = tmp_path / "mine.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        find(str(path))
    assert command.main(["--board", str(path), "--dry-run"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_program_registers(boards):
    board = Board(name="other", title="", clock_hz=1, fabric=SERIES7, config=Config())
    assert register(board) is find("other") is boards["other"]
    assert register(board) is board
    with pytest.raises(ConfigError, match=r"unknown board 'another'; known boards: arty_a7, .*, other, or a FILE.py"):
        find("another")


def test_a_memory_moves_its_own_width():
    """Words twice as wide come half as often, and narrower ones no faster than one a cycle."""
    rates = {rows: BOARDS["ulx3s_85f"].override({"rows": str(rows)}).memory.rate for rows in (8, 16, 32)}
    assert rates == {8: 50, 16: 25, 32: 12}
    assert [BOARDS["arty_a7"].override({"rows": str(rows)}).memory.rate for rows in (8, 16, 32)] == [100, 100, 50]


def test_both_clocks_are_data():
    """The accelerator's may be another; its memory then serves at the ratio, seen through the crossing."""
    board = BOARDS["arty_a7"]
    same = board.override({"clock": "100"})
    assert (same.crossed, same.core_memory) == (False, board.memory)
    fast = board.override({"lanes": "4"})
    assert (fast.clock_hz, fast.system_hz, fast.crossed) == (125_000_000, 100_000_000, True)
    assert fast.memory == board.memory
    assert fast.core_memory == Memory(
        latency=33, write_latency=13, row_miss=14, turnaround=18, refresh=38, refresh_period=975, rate=80
    )  # fmt: skip
    assert config_and_memory(fast) == (fast.config, fast.core_memory)
    slow = replace(board, clock_hz=80_000_000)
    assert (slow.core_memory.rate, slow.core_memory.refresh_period) == (100, 624)
    assert board.override({"clock": "125.0"}) == board
    wide = BOARDS["genesys2"].override({"clock": "150"})
    assert wide.core_memory.word_cycles(32) == pytest.approx(1.5 * wide.memory.word_cycles(32), rel=0.01)


@pytest.mark.parametrize("text", ["fast", "", "9", "401", "nan", "inf", "-100", "125MHz"])
def test_clocks_that_are_none(text):
    with pytest.raises(ConfigError, match=r"clock must be a number of MHz from 10 to 400, not '"):
        BOARDS["arty_a7"].override({"clock": text})


def test_what_a_part_needs_at_least():
    assert SERIES7.least(Config()) == {"dsp": 64, "bram36": 128 * 1024 * 8 / 36_864}
    assert ECP5.least(Config(array="ecp5"))["dsp"] == 128
    assert "dsp" not in SERIES7.least(Config(array="portable"))

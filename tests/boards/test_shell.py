"""The shell: LiteX's ports are checked, and made the same every time where LiteX is installed."""

import json

import pytest

from hw.boards import shell
from hw.boards.registry import BOARDS
from hw.spec.config import PRESETS

HEADER = "module shell (\n{});\n"
WORDS = {"i": "input  wire", "o": "output wire", "io": "inout  wire"}


def header(ports):
    lines = [f"    {WORDS[way]} {f'[{bits - 1}:0]' if bits > 1 else ''} {name}" for name, (way, bits) in ports.items()]
    return HEADER.format(",\n".join(lines))


def test_other_ports_are_refused():
    shell._check(header(shell.PORTS))
    wider = {**shell.PORTS, "memory_awsize": ("i", 4), "extra": ("o", 1)}
    with pytest.raises(shell.ShellError, match=r"with other ports than expected: extra, memory_awsize$"):
        shell._check(header(wider))


def test_generated_by_litex(tmp_path):
    """The same bytes twice, without dates; where LiteX is not installed, an error that says so."""
    first, second = tmp_path / "first", tmp_path / "second"
    for directory in (first, second):
        directory.mkdir()
        if not shell.available():
            with pytest.raises(shell.ShellError, match="No module named"):
                shell.generate(directory, clock_hz=100_000_000, baud=1_000_000)
            return
        shell.generate(directory, clock_hz=100_000_000, baud=1_000_000)
    for name in ("shell.v", "csr.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    assert "LiteX" not in (first / "shell.v").read_text()
    regions = json.loads((first / "csr.json").read_text())["memories"]
    assert regions["main_ram"]["base"] == shell.MEMORY_BASE
    assert regions["main_ram"]["size"] == shell.MEMORY_BYTES
    assert regions["control"]["base"] == shell.CONTROL_BASE


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_boards_have_what_the_build_reads(board):
    assert board.config is PRESETS[board.name]
    assert (board.config.array == "dsp48") == board.primitives == bool(board.capacity)
    if board.capacity:
        assert set(board.capacity) == set(board.reserve) == set(board.family.columns)
        assert board.config.word_bits == shell.DATA_BITS
        assert board.part.startswith(board.platform().device)

"""Boards by name."""

from hw.boards.arty_a7 import ARTY_A7, ARTY_A7_100
from hw.boards.board import Board
from hw.boards.verilog import VERILOG

__all__ = ["BOARDS"]

BOARDS: dict[str, Board] = {board.name: board for board in (ARTY_A7, ARTY_A7_100, VERILOG)}

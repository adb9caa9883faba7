"""Boards by name."""

from hw.boards.arty_a7 import ARTY_A7, ARTY_A7_100
from hw.boards.board import Board
from hw.boards.genesys2 import GENESYS2
from hw.boards.ulx3s import ULX3S_85F
from hw.boards.verilog import VERILOG

__all__ = ["BOARDS"]

BOARDS: dict[str, Board] = {board.name: board for board in (ARTY_A7, ARTY_A7_100, GENESYS2, ULX3S_85F, VERILOG)}

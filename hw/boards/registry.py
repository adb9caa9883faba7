"""Boards by name."""

from hw.boards.arty_a7 import ARTY_A7
from hw.boards.board import Board

__all__ = ["BOARDS"]

BOARDS: dict[str, Board] = {board.name: board for board in (ARTY_A7,)}

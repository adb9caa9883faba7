"""No board: the IP core alone, for any vendor's tools or an ASIC flow."""

from hw.boards.board import Board
from hw.build.synthesis import GENERIC

__all__ = ["VERILOG"]

VERILOG = Board(name="verilog", title="vendor-neutral IP core", clock_hz=100_000_000, family=GENERIC)

"""No board: the IP core alone, for any vendor's tools or an ASIC flow, and a very small one to try things with."""

from hw.boards.board import Board
from hw.boards.fabric import GENERIC
from hw.spec.config import Config

__all__ = ["TINY", "VERILOG"]

VERILOG = Board(
    name="verilog", title="vendor-neutral IP core", clock_hz=100_000_000, fabric=GENERIC,
    config=Config(array="portable"),
)  # fmt: skip
TINY = Board(
    name="tiny", title="very small IP core", clock_hz=100_000_000, fabric=GENERIC,
    config=Config(rows=8, cols=4, tokens=32, bank_words=512, stream_words=128, array="portable"),
)  # fmt: skip

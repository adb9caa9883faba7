"""Digilent Arty S7-50: XC7S50 in CSGA324, speed grade -1, 256 MB DDR3L, USB-UART."""

from hw.boards.board import Board
from hw.boards.fabric import SERIES7
from hw.shell.shell import Shell
from hw.spec.config import Config

__all__ = ["ARTY_S7_50"]


def _platform():
    from amaranth_boards.arty_s7 import ArtyS7_50Platform  # only a build for the board needs it

    return ArtyS7_50Platform()


ARTY_S7_50 = Board(
    name="arty_s7_50",
    title="Digilent Arty S7-50",
    part="xc7s50csga324-1",
    clock_hz=100_000_000,
    config=Config(),
    fabric=SERIES7,
    capacity={"lut": 32_600, "ff": 65_200, "dsp": 120, "bram36": 75},  # Xilinx DS180
    platform=_platform,
    shell=Shell(
        input_hz=100e6, speed_grade=1, phy="A7DDRPHY", kind="DDR3", module="MT41K128M16", chips=2, rows=14,
        memory_bytes=1 << 28, data_bits=128,
    ),
    toolchains=("vivado",),
    programmer="arty_s7_50",
)  # fmt: skip

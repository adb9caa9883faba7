"""Digilent Genesys 2: XC7K325T in FFG900, speed grade -2, 1 GB DDR3 on 32 pins, USB-UART."""

from copy import deepcopy

from hw.boards.board import Board
from hw.boards.fabric import SERIES7
from hw.shell.shell import Shell
from hw.spec.config import Config

__all__ = ["GENESYS2"]

_ROWS = 15  # address pins that the board's chips have


def _platform():
    """amaranth-boards' without the address pin that no chip is connected to."""
    from amaranth_boards.genesys2 import Genesys2Platform

    resources = deepcopy(Genesys2Platform.resources)
    ddr3 = next(resource for resource in resources if resource.name == "ddr3")
    pins = next(signal for signal in ddr3.ios if signal.name == "a").ios[0]
    pins.names = pins.names[:_ROWS]
    return type("_Genesys2", (Genesys2Platform,), {"resources": resources})()


GENESYS2 = Board(
    name="genesys2",
    title="Digilent Genesys 2",
    part="xc7k325tffg900-2",
    clock_hz=100_000_000,
    config=Config(rows=32, drain_lanes=4, lanes=4, slices=4),
    fabric=SERIES7,
    capacity={"lut": 203_800, "ff": 407_600, "dsp": 840, "bram36": 445},  # Xilinx DS180
    platform=_platform,
    shell=Shell(
        input_hz=200e6, speed_grade=2, phy="K7DDRPHY", kind="DDR3", module="MT41J256M16", chips=4, rows=_ROWS,
        memory_bytes=1 << 30, data_bits=256,
    ),
    baud=2_000_000,  # its FT232R makes 3 Mbaud at most, and 100 MHz / 50 is exact
    toolchains=("vivado", "openxc7"),
    programmer="genesys2",
)  # fmt: skip

"""Radiona ULX3S: LFE5U-85F in CABGA381, speed grade 6, 32 MB SDRAM, USB-UART."""

from hw.boards.board import Board
from hw.boards.fabric import ECP5
from hw.boards.memory import Memory
from hw.shell.shell import Shell
from hw.spec.config import Config

__all__ = ["ULX3S_85F"]


def _platform():
    from amaranth_boards.ulx3s import ULX3S_85F_Platform

    return ULX3S_85F_Platform(toolchain="Trellis")


ULX3S_85F = Board(
    name="ulx3s_85f",
    title="Radiona ULX3S 85F",
    part="LFE5U-85F-6BG381C",
    clock_hz=80_000_000,  # routed: docs/boards.md
    system_hz=50_000_000,  # of the SDRAM 100 MHz, as in LiteX's target for this board
    # Few and long super-tiles: the SDRAM gives 4 bytes a cycle, and weights are read once per super-tile. With small
    # products in multipliers 155 of 156 are taken, and some are then at the other end of the part.
    config=Config(tokens=256, bank_words=4096, array="ecp5", small_products="lut"),
    fabric=ECP5,
    memory=Memory(rate=25, refresh_period=390),  # 4 of a word's 16 bytes a cycle; 7.8 us
    capacity={"lut": 83_640, "ff": 83_640, "dsp": 156, "ebr": 208},  # Lattice FPGA-DS-02012
    platform=_platform,
    shell=Shell(
        input_hz=25e6, speed_grade=6, phy="HalfRateGENSDRPHY", kind="SDR", module="MT48LC16M16", chips=2, rows=13,
        memory_bytes=1 << 25, data_bits=32,
    ),
    baud=2_000_000,  # 3 MHz / 1.5 of the board's FT231X and 50 MHz / 25, both exactly
    reset="button_fire",
    high={"esp32": "gpio0"},  # low, or floating, it lets the board's ESP32 take over the FPGA's configuration
    toolchains=("nextpnr-ecp5",),
    programmer="ulx3s",
)  # fmt: skip

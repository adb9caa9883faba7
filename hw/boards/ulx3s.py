"""Radiona ULX3S: LFE5U-85F in CABGA381, speed grade 6, 32 MB SDRAM, USB-UART."""

from amaranth_boards.ulx3s import ULX3S_85F_Platform

from hw.boards.board import Board
from hw.boards.shell import Shell
from hw.build.synthesis import ECP5

__all__ = ["ULX3S_85F"]

ULX3S_85F = Board(
    name="ulx3s_85f",
    title="Radiona ULX3S 85F",
    part="LFE5U-85F-6BG381C",
    clock_hz=50_000_000,  # of the SDRAM 100 MHz, as in LiteX's target for this board
    family=ECP5,
    capacity={"lut": 83_640, "ff": 83_640, "dsp": 156, "ebr": 208},  # Lattice FPGA-DS-02012
    reserve={"lut": 2_991, "ff": 1_134, "dsp": 0, "ebr": 0},
    reserve_source="LiteDRAM SDRAM controller and bus ports, synthesised alone by yosys",
    platform=lambda: ULX3S_85F_Platform(toolchain="Trellis"),
    shell=Shell(
        input_hz=25e6, speed_grade=6, phy="HalfRateGENSDRPHY", module="MT48LC16M16", chips=2, rows=13,
        memory_bytes=1 << 25, data_bits=32,
    ),
    baud=2_000_000,  # 3 MHz / 1.5 of the board's FT231X and 50 MHz / 25, both exactly
    reset="button_fire",
    high={"esp32": "gpio0"},  # low, or floating, it lets the board's ESP32 take over the FPGA's configuration
    toolchains=("nextpnr-ecp5",),
    programmer="ulx3s",
    primitives=True,
)  # fmt: skip

"""Digilent Arty A7-35T: XC7A35TICSG324-1L, 256 MB DDR3L, USB-UART, 100 Mb Ethernet."""

from amaranth_boards.arty_a7 import ArtyA7_35Platform

from hw.boards.board import Board, Capacity

__all__ = ["ARTY_A7"]

ARTY_A7 = Board(
    name="arty_a7",
    title="Digilent Arty A7-35T",
    part="xc7a35ticsg324-1L",
    clock_hz=100_000_000,
    synthesis="synth_xilinx -family xc7",
    capacity=Capacity(lut=20_800, ff=41_600, dsp=90, bram36=50),  # Xilinx DS180, XC7A35T
    reserve=Capacity(lut=4_306, ff=2_669, dsp=0, bram36=0),
    reserve_source="LiteDRAM DDR3 controller, UART bridge and bus ports, synthesised alone by yosys",
    platform=lambda toolchain: ArtyA7_35Platform(toolchain=toolchain),
    primitives=True,
)

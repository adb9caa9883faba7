"""Digilent Arty A7: XC7A35T or XC7A100T in CSG324, speed grade -1L, 256 MB DDR3L, USB-UART, 100 Mb Ethernet."""

from copy import deepcopy

from amaranth_boards.arty_a7 import ArtyA7_35Platform, ArtyA7_100Platform

from hw.boards.board import Board
from hw.boards.shell import Shell
from hw.build.synthesis import SERIES7

__all__ = ["ARTY_A7", "ARTY_A7_100"]

# synthesise() on the shell of LiteX 2024.12
_SHELL = {"lut": 4_635, "ff": 2_810, "dsp": 0, "bram36": 0}
_SHELL_SOURCE = "LiteDRAM DDR3 controller and bus ports, synthesised alone by yosys"


def _terminated(resources):
    """The platform's resources with the on-chip termination of DQS that goes with the one it has on DQ."""
    resources = deepcopy(resources)
    ddr3 = next(resource for resource in resources if resource.name == "ddr3")
    next(signal for signal in ddr3.ios if signal.name == "dqs").attrs["IN_TERM"] = "UNTUNED_SPLIT_40"
    return resources


class _Arty35(ArtyA7_35Platform):
    resources = _terminated(ArtyA7_35Platform.resources)


class _Arty100(ArtyA7_100Platform):
    resources = _terminated(ArtyA7_100Platform.resources)


_COMMON = {
    "clock_hz": 100_000_000,
    "family": SERIES7,
    "reserve": _SHELL,
    "reserve_source": _SHELL_SOURCE,
    "shell": Shell(
        input_hz=100e6, speed_grade=1, phy="A7DDRPHY", module="MT41K128M16", chips=2, rows=14, memory_bytes=1 << 28,
        data_bits=128, mii=True,
    ),
    "toolchains": ("vivado", "openxc7"),
    "primitives": True,
}  # fmt: skip

ARTY_A7 = Board(
    name="arty_a7",
    title="Digilent Arty A7-35T",
    part="xc7a35ticsg324-1L",
    capacity={"lut": 20_800, "ff": 41_600, "dsp": 90, "bram36": 50},  # Xilinx DS180
    platform=lambda: _Arty35(toolchain="Vivado"),
    programmer="arty_a7_35t",
    **_COMMON,
)
ARTY_A7_100 = Board(
    name="arty_a7_100",
    title="Digilent Arty A7-100T",
    part="xc7a100ticsg324-1L",
    capacity={"lut": 63_400, "ff": 126_800, "dsp": 240, "bram36": 135},  # Xilinx DS180
    platform=lambda: _Arty100(toolchain="Vivado"),
    link="both",
    programmer="arty_a7_100t",
    **_COMMON,
)

"""Digilent Arty A7: XC7A35T or XC7A100T in CSG324, speed grade -1L, 256 MB DDR3L, USB-UART, 100 Mb Ethernet."""

from copy import deepcopy

from hw.boards.board import Board
from hw.boards.fabric import SERIES7
from hw.shell.shell import Shell
from hw.spec.config import Config

__all__ = ["ARTY_A7", "ARTY_A7_100"]


def _platform(name):
    """amaranth-boards', with the on-chip termination of DQS that goes with the one it has on DQ."""
    from amaranth_boards import arty_a7

    platform = getattr(arty_a7, name)
    resources = deepcopy(platform.resources)
    ddr3 = next(resource for resource in resources if resource.name == "ddr3")
    next(signal for signal in ddr3.ios if signal.name == "dqs").attrs["IN_TERM"] = "UNTUNED_SPLIT_40"
    return type(f"_{name}", (platform,), {"resources": resources})(toolchain="Vivado")


_COMMON = {
    "system_hz": 100_000_000,  # of the DDR3 800 Mb/s, the most of speed grade -1
    "fabric": SERIES7,
    "shell": Shell(
        input_hz=100e6, speed_grade=1, phy="A7DDRPHY", kind="DDR3", module="MT41K128M16", chips=2, rows=14,
        memory_bytes=1 << 28, data_bits=128, mii=True,
    ),
    "toolchains": ("vivado", "openxc7"),
}  # fmt: skip

ARTY_A7 = Board(
    name="arty_a7",
    title="Digilent Arty A7-35T",
    part="xc7a35ticsg324-1L",
    clock_hz=125_000_000,  # by the estimate of its longest path: docs/timing.md
    config=Config(),
    capacity={"lut": 20_800, "ff": 41_600, "dsp": 90, "bram36": 50},  # Xilinx DS180
    platform=lambda: _platform("ArtyA7_35Platform"),
    programmer="arty_a7_35t",
    **_COMMON,
)
ARTY_A7_100 = Board(
    name="arty_a7_100",
    title="Digilent Arty A7-100T",
    part="xc7a100ticsg324-1L",
    clock_hz=125_000_000,  # as the Arty's
    # 240 DSPs: those products in DSP slices, too, would be 267
    config=Config(slices=3, small_products="lut"),
    capacity={"lut": 63_400, "ff": 126_800, "dsp": 240, "bram36": 135},  # Xilinx DS180
    platform=lambda: _platform("ArtyA7_100Platform"),
    link="both",
    programmer="arty_a7_100t",
    **_COMMON,
)

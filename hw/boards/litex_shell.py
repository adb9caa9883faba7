"""Writes the shell with LiteX: ``python -m hw.boards.litex_shell DIRECTORY CLOCK_HZ BAUD``. See `hw.boards.shell`.

No processor: the host is the only bus master, and trains the memory controller itself.
"""

import sys

from litedram.frontend.axi import LiteDRAMAXI2Native, LiteDRAMAXIPort
from litedram.gen import LiteDRAMCoreControl, get_dram_ios
from litedram.modules import MT41K128M16
from litedram.phy import A7DDRPHY
from litex.build.generic_platform import Pins, Subsignal
from litex.build.xilinx import XilinxPlatform
from litex.gen import LiteXModule
from litex.soc.cores.clock import S7IDELAYCTRL, S7PLL
from litex.soc.integration.builder import Builder
from litex.soc.integration.soc import SoCRegion
from litex.soc.integration.soc_core import SoCMini
from litex.soc.interconnect.axi import AXILiteInterface
from migen import ClockDomain, ClockSignal, ResetSignal

from hw.boards.shell import BOARD_CLOCK_HZ, CONTROL_BASE, ID_BITS, MEMORY_BASE, MEMORY_BYTES

__all__ = ["Clocks", "Shell", "write"]

_IOS = [
    ("clk", 0, Pins(1)),
    ("rst", 0, Pins(1)),
    ("user_clk", 0, Pins(1)),
    ("user_rst", 0, Pins(1)),
    ("init_done", 0, Pins(1)),
    ("init_error", 0, Pins(1)),
    ("serial", 0, Subsignal("tx", Pins(1)), Subsignal("rx", Pins(1))),
]
_IDELAY_HZ = 200e6  # reference of the IDELAYCTRL that A7DDRPHY expects
_MEMORY = {"memtype": "DDR3", "sdram_module": MT41K128M16, "sdram_module_nb": 2, "sdram_rank_nb": 1}


class Clocks(LiteXModule):
    """One PLL: the system clock, four times it for the memory (plain and by a quarter late), the delays' reference."""

    def __init__(self, platform, clock_hz):
        self.cd_sys = ClockDomain()
        self.cd_sys4x = ClockDomain(reset_less=True)
        self.cd_sys4x_dqs = ClockDomain(reset_less=True)
        self.cd_idelay = ClockDomain()
        self.pll = pll = S7PLL(speedgrade=-1)
        self.comb += pll.reset.eq(platform.request("rst"))
        pll.register_clkin(platform.request("clk"), BOARD_CLOCK_HZ)
        pll.create_clkout(self.cd_sys, clock_hz)
        pll.create_clkout(self.cd_sys4x, 4 * clock_hz)
        pll.create_clkout(self.cd_sys4x_dqs, 4 * clock_hz, phase=90)
        pll.create_clkout(self.cd_idelay, _IDELAY_HZ)
        self.idelayctrl = S7IDELAYCTRL(self.cd_idelay)


class Shell(SoCMini):
    """UART bridge -> Wishbone -> {controller's registers, memory, accelerator's registers}; AXI4 -> memory."""

    def __init__(self, clock_hz, baud):
        platform = XilinxPlatform("", io=_IOS, toolchain="vivado")
        platform.add_extension(get_dram_ios(_MEMORY))
        self.csr_map = {"ddrctrl": 0, "ddrphy": 1, "sdram": 2}
        super().__init__(platform, clock_hz, ident="", with_timer=False, csr_data_width=32)
        self.crg = Clocks(platform, clock_hz)
        self.comb += [
            platform.request("user_clk").eq(ClockSignal()),
            platform.request("user_rst").eq(ResetSignal()),
        ]
        self._add_memory(platform, clock_hz)
        self.add_uartbone(uart_name="serial", baudrate=baud)
        self._add_control(platform)
        self._add_port(platform)

    def _add_memory(self, platform, clock_hz):
        self.ddrphy = A7DDRPHY(platform.request("ddram"), memtype="DDR3", nphases=4, sys_clk_freq=clock_hz)
        self.ddrphy.settings.add_electrical_settings(rtt_nom="60ohm", rtt_wr="60ohm", ron="34ohm")
        self.add_sdram(
            "sdram", phy=self.ddrphy, module=MT41K128M16(clock_hz, "1:4"), origin=MEMORY_BASE, size=MEMORY_BYTES,
            l2_cache_size=0,
        )  # fmt: skip
        self.ddrctrl = control = LiteDRAMCoreControl()
        self.comb += [
            platform.request("init_done").eq(control.init_done.storage),
            platform.request("init_error").eq(control.init_error.storage),
        ]

    def _add_control(self, platform):
        bus = AXILiteInterface(address_width=32, data_width=32)
        platform.add_extension(bus.get_ios("control"))
        self.comb += bus.connect_to_pads(platform.request("control"), mode="master")
        self.bus.add_slave("control", bus, SoCRegion(origin=CONTROL_BASE, size=0x1000, cached=False))

    def _add_port(self, platform):
        native = self.sdram.crossbar.get_port()  # at its own width: converters have open bugs (litedram #358, #370)
        bits = native.address_width + (native.data_width // 8 - 1).bit_length()
        port = LiteDRAMAXIPort(data_width=native.data_width, address_width=bits, id_width=ID_BITS)
        self.submodules += LiteDRAMAXI2Native(port, native)
        platform.add_extension(port.get_ios("memory"))
        self.comb += port.connect_to_pads(platform.request("memory"), mode="slave")


def write(directory: str, clock_hz: str, baud: str) -> None:
    """Puts LiteX's output, ``gateware/shell.v`` and ``csr.json``, into `directory`."""
    shell = Shell(float(clock_hz), float(baud))
    builder = Builder(
        shell, output_dir=directory, compile_software=False, compile_gateware=False, csr_json=f"{directory}/csr.json"
    )
    builder.build(build_name="shell", run=False)


if __name__ == "__main__":
    write(*sys.argv[1:])

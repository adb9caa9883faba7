"""Writes a board's shell with LiteX: ``python -m hw.shell.litex_shell DIRECTORY DESCRIPTION``, see `write`."""

import json
import sys
from pathlib import Path

import litedram.modules
import litedram.phy
from litedram.frontend.axi import LiteDRAMAXI2Native, LiteDRAMAXIPort
from litedram.gen import LiteDRAMCoreControl, get_dram_ios
from litedram.init import get_sdram_phy_init_sequence
from litex.build.generic_platform import Pins
from litex.build.io import DDROutput
from litex.build.lattice import LatticePlatform
from litex.build.xilinx import XilinxPlatform
from litex.gen import LiteXModule
from litex.soc.cores.clock import ECP5PLL, S7IDELAYCTRL, S7MMCM, S7PLL
from litex.soc.integration.builder import Builder
from litex.soc.integration.soc_core import SoCMini
from litex.soc.interconnect.axi import AXILiteInterface
from migen import ClockDomain, ClockSignal, ResetSignal, Signal

from hw.shell.litex_phy import RegisteredPHY, SimulatedPHY
from hw.shell.litex_write_phy import SimulatedWritePHY
from hw.shell.shell import CSR_ADDRESS_BITS, ID_BITS, MEMORY_PORTS, Shell

__all__ = ["ClocksECP5", "ClocksSeries7", "ClocksSimulated", "CoreClock", "Generated", "write"]

_CORE = ("core_clk", "core_rst")
_IOS = [(name, 0, Pins(1)) for name in ("clk", "rst", "user_clk", "user_rst", "init_done", "init_error")]
_EXACT = 1e-4  # of a clock that was asked for, as images/s are by it
_IDELAY_HZ = 200e6  # reference of the IDELAYCTRL that the 7-series PHYs expect
_MII_HZ = 25e6
_WITH_OUTPUT_DELAYS = ("K7DDRPHY", "V7DDRPHY")
_DFII = {
    "control": {"sel": 1, "cke": 2, "odt": 4, "reset_n": 8},
    "command": {"cs": 1, "we": 2, "cas": 4, "ras": 8, "wrdata": 16, "rddata": 32},
}


class ClocksSeries7(LiteXModule):
    """One PLL: the system clock, four times it for the memory (plain and by a quarter late), the delays' reference."""

    def __init__(self, platform, pads, shell, clock_hz, ethernet):
        self.cd_sys = ClockDomain()
        self.cd_sys4x = ClockDomain(reset_less=True)
        self.cd_sys4x_dqs = ClockDomain(reset_less=True)
        self.cd_idelay = ClockDomain()
        self.pll = pll = S7PLL(speedgrade=-shell.speed_grade)
        self.comb += pll.reset.eq(pads["rst"])
        pll.register_clkin(pads["clk"], shell.input_hz)
        pll.create_clkout(self.cd_sys, clock_hz)
        pll.create_clkout(self.cd_sys4x, 4 * clock_hz)
        pll.create_clkout(self.cd_sys4x_dqs, 4 * clock_hz, phase=90)
        pll.create_clkout(self.cd_idelay, _IDELAY_HZ)
        self.idelayctrl = S7IDELAYCTRL(self.cd_idelay)
        if ethernet:
            self.cd_eth = ClockDomain(reset_less=True)
            pll.create_clkout(self.cd_eth, _MII_HZ)
            self.comb += platform.request("eth_ref_clk").eq(ClockSignal("eth"))


class ClocksECP5(LiteXModule):
    """One PLL: the system clock and twice it for the memory, plain and, for the memory's pin, by half a period late."""

    def __init__(self, platform, pads, shell, clock_hz, _ethernet):
        self.cd_sys = ClockDomain()
        self.cd_sys2x = ClockDomain()
        self.cd_sys2x_ps = ClockDomain(reset_less=True)
        self.pll = pll = ECP5PLL()
        self.comb += pll.reset.eq(pads["rst"])
        pll.register_clkin(pads["clk"], shell.input_hz)
        pll.create_clkout(self.cd_sys, clock_hz)
        pll.create_clkout(self.cd_sys2x, 2 * clock_hz)
        pll.create_clkout(self.cd_sys2x_ps, 2 * clock_hz, phase=180)  # as LiteX's ULX3S has it
        self.specials += DDROutput(1, 0, platform.request("sdram_clock"), ClockSignal("sys2x_ps"))


class ClocksSimulated(LiteXModule):
    """The clock and reset that come in."""

    def __init__(self, _platform, pads, _shell, _clock_hz, _ethernet):
        self.cd_sys = ClockDomain()
        self.comb += [self.cd_sys.clk.eq(pads["clk"]), self.cd_sys.rst.eq(pads["rst"])]


class CoreClock(LiteXModule):
    """The accelerator's clock, by a PLL of its own: the memory's multiples leave that one no other clock to make."""

    def __init__(self, platform, pads, shell, fabric, core_hz):
        self.cd_core = ClockDomain()
        self.pll = pll = _CORE_PLL[fabric](shell)
        self.comb += pll.reset.eq(pads["rst"])
        pll.register_clkin(pads["clk"], shell.input_hz)
        pll.create_clkout(self.cd_core, core_hz, margin=_EXACT)
        platform.add_extension([(name, 0, Pins(1)) for name in _CORE])
        signals = ClockSignal("core"), ResetSignal("core")
        self.comb += [platform.request(name).eq(signal) for name, signal in zip(_CORE, signals, strict=True)]


_PLATFORMS = {
    "series7": lambda part: XilinxPlatform(part, io=_IOS, toolchain="vivado"),
    "ecp5": lambda part: LatticePlatform(part, io=_IOS, toolchain="trellis"),
}
# The MMCM of the 7 series is in one tile with a PLL, so both are near the clock's pin
_CORE_PLL = {"series7": lambda shell: S7MMCM(speedgrade=-shell.speed_grade), "ecp5": lambda _shell: ECP5PLL()}
_CLOCKS = {("series7", "DDR3"): ClocksSeries7, ("ecp5", "SDR"): ClocksECP5}


class Generated(SoCMini):
    """`hw.shell.shell.Shell.ports` around LiteDRAM and LiteEth."""

    def __init__(self, part, clock_hz, fabric, shell, *, ethernet, core_hz):
        self._sdr = shell.kind == "SDR"
        if not shell.simulated and (fabric, shell.kind) not in _CLOCKS:
            raise ValueError(f"no clocks for a {shell.kind} memory on {fabric}")
        platform = _PLATFORMS[fabric](part)
        self._dram(platform, shell)
        if ethernet:
            from hw.shell.litex_ethernet import MII, Ethernet  # a shell without it does not need LiteEth

            platform.add_extension(MII)
        self.csr_map = {"ddrctrl": 0, "ddrphy": 1, "sdram": 2, "ethernet": 3}
        super().__init__(
            platform, clock_hz, ident="", with_ctrl=False, csr_data_width=32, bus_standard="axi-lite"
        )  # fmt: skip
        clocks = ClocksSimulated if shell.simulated else _CLOCKS[fabric, shell.kind]
        pads = {name: platform.request(name) for name in ("clk", "rst")}
        self.crg = clocks(platform, pads, shell, clock_hz, ethernet)
        if core_hz:
            self.core_clock = CoreClock(platform, pads, shell, fabric, core_hz)
        self.comb += [
            platform.request("user_clk").eq(ClockSignal()),
            platform.request("user_rst").eq(ResetSignal()),
        ]
        self._add_memory(platform, shell, clock_hz)
        self._add_csr(platform)
        for name in MEMORY_PORTS:
            self._add_port(platform, name)
        if ethernet:
            self.ethernet = Ethernet(platform, clock_hz)

    def _dram(self, platform, shell):
        if shell.simulated:
            return
        chip = getattr(litedram.modules, shell.module)
        config = {"memtype": "SDR" if self._sdr else "DDR3", "sdram_module": chip, "sdram_module_nb": shell.chips,
                  "sdram_rank_nb": 1}  # fmt: skip
        platform.add_extension(get_dram_ios(config))
        if self._sdr:
            platform.add_extension([("sdram_clock", 0, Pins(1))])

    def _add_memory(self, platform, shell, clock_hz):
        module = getattr(litedram.modules, shell.module)(clock_hz, "1:2" if self._sdr else "1:4")
        if shell.simulated:
            self.ddrphy = _phy_model(module, shell, clock_hz)
        elif self._sdr:
            self.ddrphy = RegisteredPHY(getattr(litedram.phy, shell.phy)(platform.request("sdram"), clock_hz))
        else:
            phy = getattr(litedram.phy, shell.phy)
            self.ddrphy = phy(platform.request("ddram"), memtype="DDR3", nphases=4, sys_clk_freq=clock_hz)
        if not self._sdr:
            self.ddrphy.settings.add_electrical_settings(rtt_nom="60ohm", rtt_wr="60ohm", ron="34ohm")
        self.add_sdram("sdram", phy=self.ddrphy, module=module, with_soc_interconnect=False)
        self.ddrctrl = control = LiteDRAMCoreControl()
        self.comb += [
            platform.request("init_done").eq(control.init_done.storage),
            platform.request("init_error").eq(control.init_error.storage),
        ]

    def _add_csr(self, platform):
        bus = AXILiteInterface(address_width=CSR_ADDRESS_BITS, data_width=32)
        platform.add_extension(bus.get_ios("csr"))
        self.comb += bus.connect_to_pads(platform.request("csr"), mode="slave")
        self.bus.add_master("host", bus)

    def _add_port(self, platform, name):
        native = self.sdram.crossbar.get_port()  # at its own width: converters have open bugs (litedram #358, #370)
        bits = native.address_width + (native.data_width // 8 - 1).bit_length()
        port = LiteDRAMAXIPort(data_width=native.data_width, address_width=bits, id_width=ID_BITS)
        self.submodules += LiteDRAMAXI2Native(port, native)
        platform.add_extension(port.get_ios(name))
        self.comb += port.connect_to_pads(platform.request(name), mode="slave")


def _phy_model(module, shell, clock_hz):
    """A model of PHY and memory, of which so many rows are there that it has `shell.memory_bytes`.

    `module` loses rows, not address pins: one of them chooses between precharging one bank and all.
    """
    if shell.kind != "DDR3":
        raise ValueError(f"LiteDRAM's model of a memory does not stand in for {shell.phy}")
    geometry = module.geom_settings
    geometry.rowbits = (shell.memory_bytes // shell.chips - 1).bit_length() - geometry.bankbits - geometry.colbits
    if not 1 <= geometry.rowbits <= shell.rows:
        raise ValueError(f"{shell.module} simulated cannot have {shell.memory_bytes} bytes")
    phy = SimulatedWritePHY if shell.phy in _WITH_OUTPUT_DELAYS else SimulatedPHY
    return phy(module, shell.chips, clock_hz)


def _dfii(names):
    """LiteDRAM's words for bits of a DFII register as numbers."""
    words = [word.removeprefix("dfii_").partition("_") for word in names.split("|")]
    register = words[0][0]
    return {"register": register, "value": sum(_DFII[register][bit] for _, _, bit in words)}


def _description(soc):
    """What a host has to know to start the memory, as LiteDRAM has it: the PHY's numbers and the commands.

    ``init``: for each step the address and bank to set, the DFII register (control or command of phase 0) to write,
    with what, and the memory clocks to wait then.
    """
    phy = soc.ddrphy.settings
    steps, _ = get_sdram_phy_init_sequence(phy, soc.sdram.controller.settings.timing)
    names = ("memtype", "databits", "nphases", "rdphase", "wrphase", "cl", "cwl", "delays", "bitslips",
             "write_leveling", "write_latency_calibration", "write_dq_dqs_training", "read_leveling")  # fmt: skip
    numbers = {name: getattr(phy, name) for name in names}
    return {
        "phy": {name: value.reset.value if isinstance(value, Signal) else value for name, value in numbers.items()},
        "init": [
            {"comment": comment, "address": address, "bank": bank, **_dfii(command.lower()), "cycles": cycles}
            for comment, address, bank, command, cycles in steps
        ],
    }


def write(directory: str, description: str) -> None:
    """Puts LiteX's output, ``gateware/shell.v`` and ``csr.json``, and ``dram.json`` into `directory`.

    `description` is JSON: part, clock_hz, fabric (its name), shell (`hw.shell.shell.Shell`'s fields), ethernet, and
    core_hz, the accelerator's clock if it has one of its own, else 0.
    """
    wanted = json.loads(description)
    shell = Shell(**wanted["shell"])
    soc = Generated(
        wanted["part"], wanted["clock_hz"], wanted["fabric"], shell, ethernet=wanted["ethernet"],
        core_hz=wanted["core_hz"],
    )  # fmt: skip
    builder = Builder(
        soc, output_dir=directory, compile_software=False, compile_gateware=False, csr_json=f"{directory}/csr.json"
    )
    try:
        builder.build(build_name="shell", run=False)
    except ValueError:
        if not wanted["core_hz"]:
            raise
        raise ValueError(f"no PLL makes {wanted['core_hz'] / 1e6:g} MHz of {shell.input_hz / 1e6:g} MHz") from None
    Path(directory, "dram.json").write_bytes(json.dumps(_description(soc), indent=1).encode() + b"\n")


if __name__ == "__main__":
    write(*sys.argv[1:])

"""PHYs that LiteDRAM does not have: one behind registers, and what stands for an Artix-7's in a simulated shell."""

from copy import copy

from litedram.common import BitSlip, TappedDelayLine
from litedram.phy.dfi import Interface
from litedram.phy.model import SDRAMPHYModel, get_sdram_phy_settings
from litex.gen import LiteXModule
from litex.soc.cores.prbs import PRBSGenerator
from litex.soc.interconnect.csr import CSR, CSRStorage
from migen import DIR_S_TO_M, Cat, If, Signal, log2_int

__all__ = ["RegisteredPHY", "SimulatedPHY"]

_TAPS, _BITSLIPS = 32, 8  # of an IDELAYE2, and of LiteDRAM's bits a pin and cycle
_BIT_TAPS = 16  # taps of 78 ps in a bit at 800 Mb/s
_EDGE = 2  # taps either side of a transition within which a sample may be either bit's
_LATENCY = 2  # cycles that pins and bitslips take of the PHY's read latency


def _interface(phases, settings):
    """A DFI like that of `phases`."""
    like = phases[0]
    return Interface(len(like.address), len(like.bank), settings.nranks, settings.dfi_databits, settings.nphases)


class RegisteredPHY(LiteXModule):
    """A PHY with registers of the system clock before its commands and data to write; reads take a cycle more.

    In a half-rate PHY only half a cycle is left from the controller's logic to the pins, and place and route does not
    see that: it takes paths from one clock to another for unrelated (nextpnr 0.11).

    Parameters
    ----------
    phy : Module
        With ``settings`` and ``dfi``, and no registers for a host.
    """

    def __init__(self, phy):
        self.phy = phy
        self.settings = settings = copy(phy.settings)
        settings.read_latency += 1
        inner = phy.dfi.phases
        self.dfi = _interface(inner, settings)
        for outer, phase in zip(self.dfi.phases, inner, strict=True):
            for name, _, direction in phase.layout:
                to, of = getattr(phase, name), getattr(outer, name)
                if direction == DIR_S_TO_M:
                    self.comb += of.eq(to)
                else:
                    to.reset = of.reset  # no command
                    self.sync += to.eq(of)


def _skew(strobe):
    """Taps by which the pins of a strobe are late, so that one bitslip has the whole of a bit within its taps."""
    return 41 + 20 * strobe


class SimulatedPHY(LiteXModule):
    """LiteDRAM's `SDRAMPHYModel`, reading through delays and bitslips under the registers of an A7DDRPHY.

    The pins of a byte are late by some taps, differently for each byte. The chosen delay adds to that; where the sum
    is near a multiple of a bit's taps, each sample is this bit's or the next one's, by chance. The bitslip, LiteDRAM's,
    has to make up for the whole bits. So a byte reads right at one or two bitslips, each with some delays.

    The model raises ``rddata_valid`` on its first phase only (litedram 2024.12, phy/model.py: one bit is assigned to
    the Cat of all phases'). The controller counts cycles and does not look, but the injector of single commands keeps a
    phase's data when its own is high, so PHYs raise it on all (phy/s7ddrphy.py). Here, too, all have it.

    Not modelled: writes need no alignment, ``rst`` reaches delays and bitslips only, and the phase of a read command
    does not move its data.

    Parameters
    ----------
    module : litedram.modules.SDRAMModule
        DDR3; its geometry is what is simulated.
    chips : int
        Bytes of data pins, at most 4.
    clk_freq : float
    """

    command_cycles = 0  # by which the model gets commands late, so that what is written may be late, too

    def __init__(self, module, chips, clk_freq):
        self.settings = settings = get_sdram_phy_settings(module.memtype, 8 * chips, clk_freq)
        behind = copy(settings)
        behind.read_latency -= _LATENCY + self.command_cycles
        self._rst = CSRStorage()
        self._dly_sel = CSRStorage(chips)
        self._rdly_dq_rst = CSR()
        self._rdly_dq_inc = CSR()
        self._rdly_dq_bitslip_rst = CSR()
        self._rdly_dq_bitslip = CSR()
        self._rdphase = CSRStorage(log2_int(settings.nphases), reset=settings.rdphase)
        self._wrphase = CSRStorage(log2_int(settings.nphases), reset=settings.wrphase)
        settings.rdphase, settings.wrphase = self._rdphase.storage, self._wrphase.storage
        settings.read_leveling, settings.delays, settings.bitslips = True, _TAPS, _BITSLIPS

        self.model = model = SDRAMPHYModel(module, behind, clk_freq=clk_freq)
        inner = model.dfi.phases
        self.dfi = _interface(inner, settings)
        self.valid = valid = TappedDelayLine(inner[0].rddata_valid, _LATENCY)
        self.noise = noise = PRBSGenerator(2 * settings.nphases)
        self.comb += [outer.rddata_valid.eq(valid.output) for outer in self.dfi.phases]
        self.add_writes(zip(self.dfi.phases, inner, strict=True), chips, noise.o)
        for strobe in range(chips):
            self._add_byte(strobe, noise.o)

    def add_writes(self, phases, _chips, _noise):
        """What goes to the model: all as it is."""
        self.comb += [outer.connect(phase, omit={"rddata", "rddata_valid"}) for outer, phase in phases]

    def _add_byte(self, strobe, noise):
        """The read path of one byte's pins."""
        reset, chosen, databits = self._rst.storage, self._dly_sel.storage[strobe], self.settings.databits
        delay = Signal(max=_TAPS)
        self.sync += If(reset | (chosen & self._rdly_dq_rst.re), delay.eq(0)).Elif(
            chosen & self._rdly_dq_inc.re, delay.eq(delay + 1)
        )
        latest = _skew(strobe) + _TAPS - 1 + _EDGE
        assert latest // _BIT_TAPS <= _BITSLIPS, "later than a bitslip can make up for"
        low, high = Signal(max=latest + 1), Signal(max=latest + 1)  # taps a sample may be late; Signals fix the widths
        self.comb += [low.eq(delay + (_skew(strobe) - _EDGE)), high.eq(delay + (_skew(strobe) + _EDGE))]
        early, late = (taps[log2_int(_BIT_TAPS) :] for taps in (low, high))  # in bits
        for pin in range(8 * strobe, 8 * strobe + 8):
            bits = [(n // 2, n % 2 * databits + pin) for n in range(len(noise))]  # phase and its bit, as they come
            now, before = Signal(len(bits)), Signal(len(bits))
            self.comb += now.eq(Cat(*(self.model.dfi.phases[phase].rddata[bit] for phase, bit in bits)))
            self.sync += before.eq(now)
            line = Cat(before, now)
            sampled = (noise & (line >> (8 - late))[:8]) | (~noise & (line >> (8 - early))[:8])
            bitslip = BitSlip(
                8, i=sampled, rst=reset | (chosen & self._rdly_dq_bitslip_rst.re),
                slp=chosen & self._rdly_dq_bitslip.re,
            )  # fmt: skip
            self.submodules += bitslip
            for n, (phase, bit) in enumerate(bits):
                self.comb += self.dfi.phases[phase].rddata[bit].eq(bitslip.o[n])

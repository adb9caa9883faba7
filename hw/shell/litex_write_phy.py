"""What stands for a Kintex-7's PHY in a simulated shell: before LiteDRAM's model, writes that have to be aligned."""

from litedram.common import BitSlip
from litex.soc.interconnect.csr import CSR, CSRStorage
from migen import Cat, If, Replicate, Signal

from hw.shell.litex_phy import SimulatedPHY

__all__ = ["FLIGHTS", "LINES", "SKEWS", "SimulatedWritePHY"]

_TAPS = 32  # of an ODELAYE2, and of a memory clock at 400 MHz
_QUARTER = 8
_MARGIN = 6  # taps by which a strobe may miss the clock's edge, and the data the middle of the strobe's half
_MODE_REGISTER, _LEVELLING = 1, 7  # JEDEC's MR1 and its bit for write levelling

FLIGHTS = (10, 13, 16, 19)  # taps by which each byte's strobe is later at its chip than the clock, all delays 0
LINES = (8, 8, 2, 2)  # bits that a byte's data take; with the bitslip's they have to be two cycles
SKEWS = (-2, 0, 1, 3)  # taps by which a byte's data have to be later than its strobe


class SimulatedWritePHY(SimulatedPHY):
    """A `SimulatedPHY` under the registers of a K7DDRPHY, which can, and has to, align what it writes.

    A byte is written right where its strobe meets the clock's edge, its bitslip makes up for its line, and its data are
    as late as the strobe wants them; otherwise its bits are by chance. While chips and PHY are levelling writes, each
    strobe has the chips answer with the clock's level; within a tap of an edge that is by chance.

    Not modelled: anything of a strobe but its phase.
    """

    command_cycles = 2

    def __init__(self, module, chips, clk_freq):
        super().__init__(module, chips, clk_freq)
        for name in ("write_leveling", "write_latency_calibration", "write_dq_dqs_training"):
            setattr(self.settings, name, True)
        for phase in self.dfi.phases:
            answers = [phase.rddata_valid.eq(1)]
            for number, level in enumerate(self._levels):
                for edge in range(2):
                    low = edge * self.settings.databits + 8 * number
                    answers.append(phase.rddata[low : low + 8].eq(Replicate(level, 8)))
            self.comb += If(self._answering, *answers)

    def add_writes(self, phases, chips, noise):
        self._half_sys8x_taps = CSRStorage(5, reset=_QUARTER)
        self._wlevel_en = CSRStorage()
        self._wlevel_strobe = CSR()
        for name in ("cdly", "wdly_dq", "wdly_dqs"):
            for what in ("rst", "inc"):
                setattr(self, f"_{name}_{what}", CSR(name=f"{name}_{what}"))
        self._wdly_dq_bitslip_rst = CSR()
        self._wdly_dq_bitslip = CSR()
        pairs = list(phases)
        self._forward(pairs)
        mode = Signal()
        first = pairs[0][0]
        loads = ~(first.cs_n | first.ras_n | first.cas_n | first.we_n) & (first.bank == _MODE_REGISTER)
        self.sync += If(loads, mode.eq(first.address[_LEVELLING]))
        self._answering = mode & self._wlevel_en.storage
        clock = self._delay("cdly", 1)
        self._levels = [self._add_module(module, pairs, clock, noise) for module in range(chips)]

    def _forward(self, pairs):
        """Commands, late; what is written goes its own way."""
        own = {"rddata", "rddata_valid", "wrdata", "wrdata_mask"}
        for outer, phase in pairs:
            for name, _, _ in phase.layout:
                if name not in own:
                    between = Signal.like(getattr(phase, name))
                    between.reset = getattr(phase, name).reset = getattr(outer, name).reset  # no command
                    self.sync += [between.eq(getattr(outer, name)), getattr(phase, name).eq(between)]

    def _delay(self, name, chosen):
        """Taps of a delay line, which registers reset and count up."""
        taps = Signal(max=_TAPS)
        reset, step = (getattr(self, f"_{name}_{what}").re for what in ("rst", "inc"))
        self.sync += If(self._rst.storage | (chosen & reset), taps.eq(0)).Elif(chosen & step, taps.eq(taps + 1))
        return taps

    def _add_module(self, module, pairs, clock, noise):
        """The write path of one byte's pins and their mask; the clock's level as its last strobe found it."""
        chosen, databits = self._dly_sel.storage[module], self.settings.databits
        strobe, data = (self._delay(name, chosen) for name in ("wdly_dqs", "wdly_dq"))
        late, missed, skew, near = (Signal(max=_TAPS) for _ in range(4))  # Signals wrap
        level, wrong = Signal(), Signal()
        self.comb += [
            late.eq(strobe + FLIGHTS[module] - clock),
            missed.eq(late + _MARGIN),
            skew.eq(data - strobe - SKEWS[module] + _MARGIN),
            wrong.eq((missed > 2 * _MARGIN) | (skew > 2 * _MARGIN)),
            near.eq(late + noise[0] - noise[1]),
        ]
        self.sync += If(self._wlevel_strobe.re, level.eq(near < _TAPS // 2))
        reset = self._rst.storage | (chosen & self._wdly_dq_bitslip_rst.re)
        step, size, bytes_ = chosen & self._wdly_dq_bitslip.re, 2 * len(pairs), databits // 8
        for pin in (*range(8 * module, 8 * module + 8), None):  # the last one is the mask

            def bit(phase, edge, pin=pin):
                return phase.wrdata_mask[edge * bytes_ + module] if pin is None else phase.wrdata[edge * databits + pin]

            places = [(n // 2, n % 2) for n in range(size)]
            slip = BitSlip(size, i=Cat(*(bit(pairs[n][0], edge) for n, edge in places)), rst=reset, slp=step)
            self.submodules += slip
            before = Signal(size)
            self.sync += before.eq(slip.o)
            arrived = Cat(before, slip.o)[size - LINES[module] : 2 * size - LINES[module]]
            for n, edge in places:
                spoilt = 0 if pin is None else wrong & noise[2 * n + edge]
                self.comb += bit(pairs[n][1], edge).eq(arrived[2 * n + edge] ^ spoilt)
        return level

"""A machine with the accelerator's pins that only moves data: for figures of a memory."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from hw.axi.pins import axi_pins
from hw.axi.signature import AXILite

__all__ = ["CYCLES", "DONE", "REGISTERS", "START", "Traffic"]

_FIELDS = ("reads", "writes", "beats", "outstanding", "scramble", "read_base", "write_base", "step")
REGISTERS = {name: 4 * n for n, name in enumerate(_FIELDS)}
START, CYCLES, DONE = (4 * (len(_FIELDS) + n) for n in range(3))
_INCR = 0b01


class Traffic(wiring.Component):
    """Reads and writes bursts as fast as it may, after a write to `START`.

    Registers: ``reads``, ``writes`` bursts of ``beats`` beats, ``step`` bytes apart from ``read_base`` and
    ``write_base`` on, ``outstanding`` of each at most. ``scramble`` is the multiplier of their order: burst k goes to
    (k * scramble) mod 2^16 steps. `CYCLES` counts from the start to the last answer; `DONE`, and ``interrupt``, are 1
    from then on. Data written is zero.
    """

    def __init__(self, *, word_bits):
        self.word_bits = word_bits
        control = AXILite().flip()
        super().__init__({
            **{f"s_axil_{name}": member for name, member in control.members.items()},
            **axi_pins(word_bits),
            "interrupt": Out(1),
        })

    def elaborate(self, _platform):
        m = Module()
        running, done, start, cycles = Signal(), Signal(), Signal(), Signal(32)
        regs = self._registers(m, start, {CYCLES: cycles, DONE: done})
        finished = [self._requests(m, regs, running, start, read=read) for read in (True, False)]
        m.d.comb += self.interrupt.eq(done)
        with m.If(start):
            m.d.sync += [running.eq(1), done.eq(0), cycles.eq(0)]
        with m.Elif(running):
            m.d.sync += cycles.eq(cycles + 1)
            with m.If(finished[0] & finished[1]):
                m.d.sync += [running.eq(0), done.eq(1)]
        self._data(m, regs)
        return m

    def _registers(self, m, start, live):
        regs = {name: Signal(32, name=name) for name in REGISTERS}
        take = self.s_axil_awvalid & self.s_axil_wvalid & ~self.s_axil_bvalid
        m.d.comb += [
            self.s_axil_awready.eq(take),
            self.s_axil_wready.eq(take),
            self.s_axil_arready.eq(~self.s_axil_rvalid),
            start.eq(take & (self.s_axil_awaddr == START)),
        ]
        m.d.sync += [
            self.s_axil_bvalid.eq(take | (self.s_axil_bvalid & ~self.s_axil_bready)),
            self.s_axil_rvalid.eq(Mux(self.s_axil_rvalid, ~self.s_axil_rready, self.s_axil_arvalid)),
        ]
        for name, place in REGISTERS.items():
            with m.If(take & (self.s_axil_awaddr == place)):
                m.d.sync += regs[name].eq(self.s_axil_wdata)
        with m.If(~self.s_axil_rvalid):
            m.d.sync += self.s_axil_rdata.eq(0)
            for place, value in live.items():
                with m.If(self.s_axil_araddr == place):
                    m.d.sync += self.s_axil_rdata.eq(value)
        return regs

    def _requests(self, m, regs, running, start, *, read):
        """One address channel; whether all its bursts are answered."""
        prefix, way = ("ar", "read") if read else ("aw", "write")
        asked, answered, place = (Signal(16, name=f"{way}_{name}") for name in ("asked", "answered", "place"))
        pin = {
            name: getattr(self, f"m_axi_{prefix}{name}") for name in ("valid", "ready", "addr", "len", "size", "burst")
        }
        m.d.comb += [
            pin["valid"].eq(running & (asked != regs[f"{way}s"]) & (asked - answered < regs["outstanding"])),
            place.eq(asked * regs["scramble"]),
            pin["addr"].eq(regs[f"{way}_base"] + place * regs["step"]),
            pin["len"].eq(regs["beats"] - 1),
            pin["size"].eq((self.word_bits // 8).bit_length() - 1),
            pin["burst"].eq(_INCR),
        ]
        answer = self.m_axi_rvalid & self.m_axi_rlast if read else self.m_axi_bvalid
        m.d.sync += [asked.eq(asked + (pin["valid"] & pin["ready"])), answered.eq(answered + answer)]
        with m.If(start):
            m.d.sync += [asked.eq(0), answered.eq(0)]
        return answered == regs[f"{way}s"]

    def _data(self, m, regs):
        """A burst's data follows its accepted address."""
        beat, owed = Signal(8), Signal(16)
        taken = self.m_axi_wvalid & self.m_axi_wready
        m.d.comb += [
            self.m_axi_rready.eq(1),
            self.m_axi_bready.eq(1),
            self.m_axi_wstrb.eq(-1),
            self.m_axi_wvalid.eq(owed != 0),
            self.m_axi_wlast.eq(beat == regs["beats"] - 1),
        ]
        m.d.sync += owed.eq(owed + (self.m_axi_awvalid & self.m_axi_awready) - (taken & self.m_axi_wlast))
        with m.If(taken):
            m.d.sync += beat.eq(Mux(self.m_axi_wlast, 0, beat + 1))

"""The register bank: AXI4-Lite in front of everything a host can set or see."""

from amaranth.hdl import Array, Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.axi.signature import AXIL_ADDRESS_BITS, AXILite
from hw.spec.regs import MAGIC, REGS, Access

__all__ = ["COUNTERS", "Csr"]

_FIRST_COUNTER = next(n for n, reg in enumerate(REGS) if reg.name == "cycles")

COUNTERS = REGS[_FIRST_COUNTER:]
"""The registers kept in a `CounterBank`, one cell each, in the map's order."""

_CONSTANT = ("magic", "fingerprint")
_OKAY, _SLVERR = 0, 2


class Csr(wiring.Component):
    """The registers of `hw.spec.regs.REGS` behind AXI4-Lite, one write and one read at a time.

    A write is taken when its address and data are both there. Writing an unknown or a read-only register, or
    reading an unknown one, answers SLVERR and changes nothing. Byte strobes are honoured, the two lowest address
    bits ignored. Registers power up as zero and keep their values over a reset. A counter is answered when the
    bank's sweep passes it, anything else in two cycles.

    Parameters
    ----------
    fingerprint : int
        What the register of that name reads.

    Members
    -------
    ``bus``: AXI4-Lite. ``slot``, ``value``: from the `CounterBank` of `COUNTERS`.
    Every other register is a member of its own name: an output if a host can write it (a STROBE register's bits
    are high for one cycle), else an input.
    """

    def __init__(self, *, fingerprint):
        self.fingerprint = fingerprint
        values = {
            reg.name: In(reg.bits) if reg.access is Access.RO else Out(reg.bits)
            for reg in REGS[:_FIRST_COUNTER]
            if reg.name not in _CONSTANT
        }
        super().__init__({
            "bus": In(AXILite()),
            "slot": In(ceil_log2(len(COUNTERS))),
            "value": In(32),
            **values,
        })

    def elaborate(self, _platform):
        m = Module()
        # A copy of what was written, so that reading back costs a memory instead of multiplexers.
        m.submodules.copy = copy = Memory(shape=32, depth=1 << ceil_log2(_FIRST_COUNTER), init=[])
        self._write(m, copy.write_port(granularity=8))
        self._read(m, copy.read_port(domain="comb"))
        return m

    def _write(self, m, copy):
        bus = self.bus
        index = bus.awaddr[2:]
        take = Signal()
        m.d.comb += [
            take.eq(bus.awvalid & bus.wvalid & ~bus.bvalid),
            bus.awready.eq(take),
            bus.wready.eq(take),
            copy.addr.eq(index),
            copy.data.eq(bus.wdata),
        ]
        with m.If(bus.bready):
            m.d.sync += bus.bvalid.eq(0)
        with m.If(take):
            m.d.sync += [bus.bvalid.eq(1), bus.bresp.eq(_SLVERR)]
            with m.Switch(index):
                for number, reg in enumerate(REGS):
                    if reg.access is Access.RO:
                        continue
                    with m.Case(number):
                        m.d.sync += bus.bresp.eq(_OKAY)
                        if reg.access is Access.RW:
                            m.d.comb += copy.en.eq(bus.wstrb)
        for number, reg in enumerate(REGS):
            if reg.access is not Access.RO:
                self._store(m, reg, bus.wstrb & (take & (index == number)).replicate(4))

    def _store(self, m, reg, strobes):
        target = getattr(self, reg.name)
        if reg.access is Access.STROBE:
            m.d.comb += target.eq(self.bus.wdata[: reg.bits] & strobes[0].replicate(reg.bits))
            return
        for byte, part in enumerate(range(0, reg.bits, 8)):
            kept = Signal(min(8, reg.bits - part), name=f"{reg.name}_{byte}", reset_less=True)
            m.d.comb += target[part : part + 8].eq(kept)
            with m.If(strobes[byte]):
                m.d.sync += kept.eq(self.bus.wdata[part : part + 8])

    def _read(self, m, copy):
        bus = self.bus
        index = Signal(AXIL_ADDRESS_BITS - 2, reset_less=True)
        pending = Signal()
        cell, counter = Signal(ceil_log2(len(COUNTERS)), reset_less=True), Signal(reset_less=True)  # index is one's
        beyond = Signal(reset_less=True)
        known, ready, value = Signal(), Signal(), Signal(32)
        asked = bus.araddr[2:]
        m.d.comb += [
            bus.arready.eq(~pending & ~bus.rvalid),
            copy.addr.eq(index),
            ready.eq(1),
        ]
        with m.If(counter):
            # The sweep passes cells that no register has, too: they read zero and are not known.
            m.d.comb += [known.eq(~beyond), ready.eq(beyond | (self.slot == cell))]
            m.d.comb += value.eq(self.value)
        with m.Else():
            self._select(m, index, copy.data, known, value)
        with m.If(bus.arvalid & bus.arready):
            m.d.sync += [index.eq(asked), pending.eq(1), counter.eq(asked >= _FIRST_COUNTER)]
            m.d.sync += [cell.eq(asked - _FIRST_COUNTER), beyond.eq(asked >= len(REGS))]
        with m.If(pending & ready):
            m.d.sync += [
                pending.eq(0),
                bus.rvalid.eq(1),
                bus.rdata.eq(value),
                bus.rresp.eq(Cat(0, ~known)),
            ]
        with m.If(bus.rvalid & bus.rready):
            m.d.sync += bus.rvalid.eq(0)

    def _select(self, m, index, copy, known, value):
        """Everything but counters: what can be written comes from the copy, cut to the register's width."""
        written = {n: reg for n, reg in enumerate(REGS) if reg.access is Access.RW}
        m.d.comb += known.eq(1)
        with m.Switch(index):
            with m.Case(*(n for n in range(_FIRST_COUNTER) if n not in written)):
                fixed = {"magic": MAGIC, "fingerprint": self.fingerprint, "control": 0}
                seen = [
                    0 if n in written else fixed[reg.name] if reg.name in fixed else getattr(self, reg.name)
                    for n, reg in enumerate(REGS[:_FIRST_COUNTER])
                ]
                m.d.comb += value.eq(Array(Value.cast(word) for word in seen)[index])
            with m.Default():
                m.d.comb += value.eq(copy)
        for number, reg in written.items():
            if reg.bits < len(value):
                with m.If(index == number):
                    m.d.comb += value[reg.bits :].eq(0)

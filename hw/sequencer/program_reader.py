"""Reads the program: bursts of instructions, decoded as they arrive."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.axi.signature import AXIRead
from hw.spec import isa
from hw.units.ports import INDEX_BITS

__all__ = ["ProgramReader"]

_HALT, _SYNC, _ILLEGAL = 5, 6, 7  # beside the engines' own numbers


class ProgramReader(wiring.Component):
    """Passes the program's instructions to their queues, in order, up to the first one that is not for an engine.

    There it stops: HALT, SYNC, an illegal opcode, the end of the program or a read error; ``index`` is that
    instruction's, the following one's after SYNC. What a burst brings beyond is dropped and read again after
    ``resume``. One burst is outstanding at a time; it ends at a multiple of its own size, so never crosses 4 KiB.

    Parameters
    ----------
    word_bits : int
        Bits of an AXI beat, a divisor of 256.
    burst : int
        Most instructions of a burst.
    ops : collection of Op
        Legal opcodes.

    Members
    -------
    ``bus``: AXI read channels; ``r`` is always ready. ``base``: address of the program / 32. ``length``:
    instructions. ``start``: begin at instruction 0. ``resume``: go on after a stop. ``go``: bursts may be begun.
    ``room``: the queues have room for a burst. ``write``: to the `InstructionQueue`. ``stopped``: it met what
    ``at_halt``, ``at_sync`` or else ``fault`` says. ``idle``: no burst is outstanding.
    """

    def __init__(self, *, word_bits, burst, ops=tuple(isa.Op)):
        self.ops = ops
        self.word_bits, self.burst = word_bits, burst
        self.beats = isa.INSTRUCTION_BITS // word_bits
        super().__init__({
            "bus": Out(AXIRead(word_bits)),
            "base": In(32 - exact_log2(isa.INSTRUCTION_BYTES)),
            "length": In(INDEX_BITS),
            **{name: In(1) for name in ("start", "resume", "go", "room")},
            "write": Out(
                data.StructLayout({
                    "valid": 1, "engine": range(len(isa.Engine)), "beat": range(self.beats), "last": 1,
                    "data": word_bits, "index": INDEX_BITS,
                })
            ),
            **{name: Out(1) for name in ("stopped", "at_halt", "at_sync", "idle")},
            "fault": Out(4),
            "index": Out(INDEX_BITS),
        })  # fmt: skip

    def elaborate(self, _platform):
        m = Module()
        arrived = self._receive(m)
        address = Signal(len(self.base), reset_less=True)
        count = Signal(range(self.burst + 1), reset_less=True)
        ar = self.bus.ar.p
        m.d.comb += [
            ar.address.eq(Cat(Const(0, exact_log2(isa.INSTRUCTION_BYTES)), address)),
            ar.last.eq((count << exact_log2(self.beats)) - 1),
        ]
        with m.If(self.start | self.resume):
            m.d.sync += self.stopped.eq(0)
        with m.If(self.start):
            m.d.sync += self.index.eq(0)
        with m.FSM():
            with m.State("Plan"):
                m.d.comb += self.idle.eq(~arrived)
                self._plan(m, arrived, address, count)
            with m.State("Ask"):
                m.d.comb += self.bus.ar.valid.eq(1)
                with m.If(self.bus.ar.ready):
                    m.next = "Receive"
            with m.State("Receive"):
                with m.If(self.bus.r.valid & self.bus.r.p.last):
                    m.next = "Plan"
        return m

    def _plan(self, m, arrived, address, count):
        burst_bits = exact_log2(self.burst)
        left = Signal(INDEX_BITS)
        to_boundary, at = Signal.like(count), Signal.like(self.base)
        m.d.comb += [
            left.eq(self.length - self.index),
            at.eq(self.base + self.index),
            to_boundary.eq(self.burst - at[:burst_bits]),
        ]
        with m.If(self.go & ~self.stopped & ~arrived & ~self.start):
            with m.If(self.length == self.index):  # not `left`, which is a sum
                m.d.sync += [self.stopped.eq(1), self.at_halt.eq(0), self.at_sync.eq(0)]
                m.d.sync += self.fault.eq(isa.Fault.PROGRAM_END)
            with m.Elif(self.room):
                m.d.sync += [address.eq(at), count.eq(Mux(left < to_boundary, left, to_boundary))]
                m.next = "Ask"

    def _receive(self, m):
        """The stage between the bus and the queues; returns whether it holds a beat."""
        r = self.bus.r
        kinds = self._kinds()
        valid, error, failed = Signal(), Signal(reset_less=True), Signal()
        word, kind = Signal(self.word_bits, reset_less=True), Signal(3, reset_less=True)
        coming, beat = Signal(range(self.beats)), Signal(range(self.beats))
        m.d.comb += r.ready.eq(1)
        m.d.sync += valid.eq(r.valid)
        with m.If(r.valid):
            m.d.sync += [word.eq(r.p.data), error.eq(r.p.error), beat.eq(coming)]
            m.d.sync += coming.eq(0 if self.beats == 1 else coming + 1)
            with m.If(coming == 0):
                m.d.sync += kind.eq(kinds[r.p.data[: isa.OPCODE_BITS]])

        last = beat == self.beats - 1
        special = kind >= _HALT
        met = Signal()  # an instruction that stops the reading
        m.d.comb += [
            self.write.valid.eq(valid & ~self.stopped),
            self.write.engine.eq(kind),
            self.write.beat.eq(beat),
            self.write.last.eq(last & ~special & ~error & ~failed),
            self.write.data.eq(word),
            self.write.index.eq(self.index),
            met.eq(valid & ~self.stopped & last & (special | error | failed)),
        ]
        with m.If(valid):
            m.d.sync += failed.eq(~last & (failed | error))
            with m.If(last & ~self.stopped & (~met | self._is_sync(kind, error, failed))):
                m.d.sync += self.index.eq(self.index + 1)
        with m.If(met):
            read = ~error & ~failed
            m.d.sync += [
                self.stopped.eq(1),
                self.at_halt.eq(read & (kind == _HALT)),
                self.at_sync.eq(read & (kind == _SYNC)),
                self.fault.eq(Mux(read, isa.Fault.ILLEGAL_OPCODE, isa.Fault.BUS_READ)),
            ]
        return valid

    def _is_sync(self, kind, error, failed):
        return (kind == _SYNC) & ~error & ~failed

    def _kinds(self):
        """What each opcode is for: an engine's number or one of the three stops."""
        kinds = [_ILLEGAL] * (1 << isa.OPCODE_BITS)
        for op in self.ops:
            engine = isa.engine_of(op)
            kinds[op] = engine if engine is not None else {isa.Op.HALT: _HALT, isa.Op.SYNC: _SYNC}[op]
        return Array(kinds)

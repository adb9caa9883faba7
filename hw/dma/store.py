"""STORE: scratchpad to memory."""

from amaranth import *
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out

from hw.axi.signature import AXIWrite
from hw.dma.burst_generator import REGIONS, BurstGenerator
from hw.dma.burst_queue import BurstQueue
from hw.dma.credit import credit
from hw.dma.scratch_walker import ScratchWalker
from hw.spec import isa
from hw.units.carry_chain import count_down, up_down
from hw.units.ports import SLICE_BITS, ScratchRead, engine_members
from hw.units.stream_fifo import StreamFIFO

__all__ = ["StoreEngine"]

_RUN_BITS = next(field.bits for field in isa.OPERANDS[isa.Op.STORE] if field.name == "run")


class StoreEngine(Component):
    """Copies a three-level transfer from the scratchpad to memory, one word per cycle.

    Words are read ahead into a FIFO of two longest bursts. A burst is announced only when all its words have been read,
    so a begun burst never waits for anything inside, and a halt ends it with its own data; its first word leaves
    ``latency`` cycles after its check at the earliest. Up to `bursts` bursts are outstanding. An instruction retires
    with the response to its last burst, and the next one begins then.

    ``busy``: a word leaves; ``wait_out``: a word or a response is awaited; ``wait_in``: the scratchpad is.

    Parameters
    ----------
    word_bits : int
    scratch_words : int
        Words of the scratchpad, a power of two.
    burst_beats : int
        A power of two.
    bursts : int
        Most bursts outstanding.
    slices : int
        With more than one, parts of words can be written.

    Members
    -------
    see `engine_members`
    regions : In(REGIONS)
    bus : Out(AXIWrite(word_bits))
    scratch : Out(ScratchRead(word_bits))
    slice : Out
        Whose scratchpad is read, stable while words are.
    """

    latency = StreamFIFO.latency + 1  # the queue of lengths, and the register of the burst being sent
    bursts = 8

    @staticmethod
    def ahead(*, burst_beats):
        """Words of the FIFO, which may be read and not yet have left."""
        return 2 * burst_beats

    def __init__(self, *, word_bits, scratch_words, burst_beats, bursts=bursts, slices=1):
        self.slices = slices
        self.word_bits = word_bits
        self.scratch_words = scratch_words
        self.burst_beats = burst_beats
        self.fifo_words = self.ahead(burst_beats=burst_beats)
        self.bursts = bursts
        super().__init__({
            **engine_members(),
            "regions": In(REGIONS),
            "bus": Out(AXIWrite(word_bits)),
            "scratch": Out(ScratchRead(word_bits)),
            "slice": Out(SLICE_BITS),
        })

    def elaborate(self, _platform):
        m = Module()
        m.submodules.generator = generator = BurstGenerator(
            word_bits=self.word_bits, burst_beats=self.burst_beats, run_bits=_RUN_BITS
        )
        m.submodules.walker = walker = ScratchWalker(scratch_words=self.scratch_words)
        m.submodules.fifo = fifo = BurstQueue(shape=unsigned(self.word_bits), depth=self.fifo_words, single=True)
        stop, stopped = Signal(), Signal()
        pending = Signal(range(self.bursts + 1))
        m.d.comb += stop.eq(self.halt | stopped)

        strange = self._begin(m, generator, walker, stop | (pending != 0))
        outside = self._read(m, generator, walker, fifo, stop)
        begin = self._send(m, generator, fifo)
        m.d.comb += self.bus.w.p.strobe.eq(self._parts(m, walker, fifo) if self.slices > 1 else ~0)
        error = Signal()
        done = Signal()
        m.d.sync += pending.eq(up_down(pending, up=generator.reserve, down=done))
        m.d.comb += [
            generator.allow.eq(begin & (pending != self.bursts) & ~stop),
            self.bus.b.ready.eq(1),
            done.eq(self.bus.b.valid),
            error.eq(done & self.bus.b.p.error & ~stop),
            self.retired.eq(done & (pending == 1) & generator.i.ready & ~error & ~stop),
            self.quiet.eq(pending == 0),
            self.busy.eq(self.bus.w.valid & self.bus.w.ready),
            self.wait_out.eq((pending != 0) & ~self.busy),
            self.wait_in.eq((pending == 0) & ~generator.i.ready & ~self.busy & ~stop),
        ]
        fault = Signal.like(self.fault)
        with m.If(strange & ~stopped):
            m.d.comb += fault.eq(isa.Fault.ILLEGAL_OPERAND)
        with m.Elif(error):
            m.d.comb += fault.eq(isa.Fault.BUS_WRITE)
        with m.Elif(outside):
            m.d.comb += fault.eq(isa.Fault.SCRATCH_ADDRESS)
        with m.Elif(generator.outside):
            m.d.comb += fault.eq(isa.Fault.REGION_ADDRESS)
        m.d.sync += self.fault.eq(fault)
        with m.If(fault != 0):
            m.d.sync += stopped.eq(1)
        return m

    def _begin(self, m, generator, walker, wait):
        """Hands an instruction to both halves; returns whether the present one is illegal."""
        layout = isa.layout(isa.Op.STORE)
        operands = layout(self.issue.p.operands[: layout.size])
        m.d.comb += [
            self.issue.ready.eq(generator.i.ready & walker.i.ready & ~wait),
            self.started.eq(self.issue.valid & self.issue.ready),
            generator.i.valid.eq(self.started),
            *(generator.i.p[name].eq(operands[name]) for name, _ in generator.transfer),
            generator.regions.eq(self.regions),
            walker.i.valid.eq(self.started),
            *(walker.i.p[name].eq(operands[name]) for name, _ in walker.i.p.shape()),
        ]
        self._edges = edges = Signal(data.StructLayout({"skip": 5, "drop": 5}), reset_less=True)
        strange = Signal()
        most = self.word_bits // 8 if self.slices > 1 else 1
        with m.If(self.started):
            m.d.sync += [
                self.fault_index.eq(self.issue.p.index),
                self.slice.eq(operands.slice),
                edges.skip.eq(operands.skip),
                edges.drop.eq(operands.drop),
                strange.eq((operands.slice >= self.slices) | (operands.skip >= most) | (operands.drop >= most)),
            ]
        return strange

    def _parts(self, m, walker, fifo):
        """Which bytes of the next word are written: not all of those of a group's first and last run."""
        count = self.word_bits // 8
        every = (1 << count) - 1
        m.submodules.runs = runs = StreamFIFO(shape=unsigned(2), depth=self.fifo_words)
        first, last = (Signal(count, name=name, reset_less=True) for name in ("first_bytes", "last_bytes"))
        m.d.sync += [first.eq((every << self._edges.skip)[:count]), last.eq(every >> self._edges.drop)]
        m.d.comb += [
            runs.i.valid.eq(walker.o.valid & walker.o.ready),
            runs.i.p.eq(Cat(walker.first, walker.last)),
            runs.o.ready.eq(fifo.o.valid & fifo.o.ready),
        ]
        return Mux(runs.o.p[0], first, every) & Mux(runs.o.p[1], last, every)

    def _read(self, m, generator, walker, fifo, stop):
        """Reads ahead what the FIFO has room for; returns whether the next word is outside the scratchpad.

        Who waits for a grant does not wait for `stop`, which a read may follow by a cycle.
        """
        outside, granted, ended = Signal(), Signal(), Signal()
        m.d.sync += ended.eq(stop)
        m.d.comb += [
            outside.eq(walker.o.valid & walker.o.p.outside & ~stop),
            self.scratch.request.valid.eq(walker.o.valid & ~walker.o.p.outside & fifo.room & ~ended),
            self.scratch.request.p.eq(walker.o.p.address),
            granted.eq(self.scratch.request.valid & self.scratch.request.ready),
            walker.o.ready.eq(granted),
            fifo.reserve.eq(granted),
            fifo.i.valid.eq(self.scratch.valid),
            fifo.i.p.eq(self.scratch.data),
        ]
        self._count(m, granted, generator)
        return outside

    def _count(self, m, granted, generator):
        """Words read but not yet part of a burst."""
        self._unsent = unsent = Signal(range(self.fifo_words + 2))
        m.d.sync += unsent.eq(credit(unsent, take=generator.reserve, last=generator.last, give=granted))

    def _send(self, m, generator, fifo):
        """Announces bursts and sends their words; returns whether another one could begin."""
        m.submodules.lengths = lengths = StreamFIFO(shape=unsigned(8), depth=2)
        active = Signal()
        left = Signal(8, reset_less=True)
        take = Signal()
        sent = self.bus.w.valid & self.bus.w.ready
        m.d.comb += [
            lengths.i.valid.eq(generator.reserve),
            lengths.i.p.eq(generator.last),
            lengths.o.ready.eq(take),
            take.eq(~active | (sent & (left == 0))),
            self.bus.aw.valid.eq(generator.o.valid),
            self.bus.aw.p.address.eq(generator.o.p.address),
            self.bus.aw.p.last.eq(generator.o.p.last),
            generator.o.ready.eq(self.bus.aw.ready),
            self.bus.w.valid.eq(active & fifo.o.valid),
            self.bus.w.p.data.eq(fifo.o.p),
            self.bus.w.p.last.eq(left == 0),
            fifo.o.ready.eq(active & self.bus.w.ready),
        ]
        with m.If(take):
            m.d.sync += active.eq(lengths.o.valid)
        with m.If(take | sent):
            m.d.sync += left.eq(count_down(left, load=~active | (left == 0), value=lengths.o.p))
        return (self._unsent > generator.last) & lengths.i.ready

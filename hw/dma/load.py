"""LOAD: memory to scratchpad."""

from amaranth import *
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out

from hw.axi.signature import AXIRead
from hw.dma.burst_generator import REGIONS, BurstGenerator
from hw.dma.burst_queue import BurstQueue
from hw.dma.scratch_walker import WALK, ScratchWalker
from hw.spec import isa
from hw.units.carry_chain import up_down
from hw.units.ports import INDEX_BITS, SLICE_BITS, ScratchWrite, engine_members

__all__ = ["LoadEngine"]

_RUN_BITS = next(field.bits for field in isa.OPERANDS[isa.Op.LOAD] if field.name == "run")


class LoadEngine(Component):
    """Copies a three-level transfer from memory to the scratchpad, one word per cycle.

    Two halves: one requests bursts, for which a FIFO has room, so read data are always accepted; the other writes words
    in order and retires. The requests of an instruction start while the words of the one before are still arriving.
    An instruction retires in the cycle after the grant of its last write; a burst outside the region faults when the
    words before it are written, a slice that is not there when its first word could be. A stall of ``scratch`` fills
    the FIFO (of two longest bursts) and then ends requests.

    ``busy``: a word is written; ``wait_out``: a word waits for the scratchpad; ``wait_in``: none is there.

    Parameters
    ----------
    word_bits : int
    scratch_words : int
        Words of the scratchpad, a power of two.
    burst_beats : int
        A power of two.
    slices : int

    Members
    -------
    see `engine_members`
    regions : In(REGIONS)
    bus : Out(AXIRead(word_bits))
        With id 2.
    scratch : Out(ScratchWrite(word_bits))
    slice, every : Out
        Whose scratchpad the requested word is for.
    """

    def __init__(self, *, word_bits, scratch_words, burst_beats, slices=1):
        self.slices = slices
        self.word_bits = word_bits
        self.scratch_words = scratch_words
        self.burst_beats = burst_beats
        self.fifo_words = self.ahead(burst_beats=burst_beats)
        super().__init__({
            **engine_members(),
            "regions": In(REGIONS),
            "bus": Out(AXIRead(word_bits)),
            "scratch": Out(ScratchWrite(word_bits)),
            "slice": Out(SLICE_BITS),
            "every": Out(1),
        })

    @staticmethod
    def ahead(*, burst_beats):
        """Words of the FIFO, which may be requested and not yet be written."""
        return 2 * burst_beats

    def elaborate(self, _platform):
        m = Module()
        m.submodules.generator = generator = BurstGenerator(
            word_bits=self.word_bits, burst_beats=self.burst_beats, run_bits=_RUN_BITS
        )
        m.submodules.walker = walker = ScratchWalker(scratch_words=self.scratch_words)
        word = data.StructLayout({"data": self.word_bits, "error": 1})
        m.submodules.fifo = fifo = BurstQueue(shape=word, depth=self.fifo_words)
        stop, stopped, ended = Signal(), Signal(), Signal()  # who waits for a grant waits for `ended` only
        m.d.comb += stop.eq(self.halt | stopped)
        m.d.sync += ended.eq(stop)

        walking, strange = self._begin(m, generator, walker, stop)
        empty = self._request(m, generator, fifo, stop)

        ready = Signal()
        error, outside = Signal(), Signal()
        written = Signal()
        dead = Signal()
        m.d.sync += dead.eq(dead | generator.outside)
        m.d.comb += [
            ready.eq(fifo.o.valid & walker.o.valid & ~strange),
            error.eq(ready & fifo.o.p.error & ~stop),
            outside.eq(ready & walker.o.p.outside & ~stop),
            self.scratch.request.valid.eq(ready & ~fifo.o.p.error & ~walker.o.p.outside & ~ended),
            self.scratch.request.p.address.eq(walker.o.p.address),
            self.scratch.request.p.data.eq(fifo.o.p.data),
            self.scratch.request.p.mask.eq(~0),
            written.eq(self.scratch.request.valid & self.scratch.request.ready),
            walker.o.ready.eq(written),
            fifo.o.ready.eq(written),
        ]
        m.d.sync += self.retired.eq(written & walker.o.p.final)
        fault = Signal.like(self.fault)
        with m.If(strange & walker.o.valid & ~stop):
            m.d.comb += fault.eq(isa.Fault.ILLEGAL_OPERAND)
        with m.Elif(error):
            m.d.comb += fault.eq(isa.Fault.BUS_READ)
        with m.Elif(outside):
            m.d.comb += fault.eq(isa.Fault.SCRATCH_ADDRESS)
        with m.Elif(dead & walker.o.valid & empty & ~stop):
            m.d.comb += fault.eq(isa.Fault.REGION_ADDRESS)
        m.d.sync += self.fault.eq(fault)
        with m.If(fault != 0):
            m.d.sync += stopped.eq(1)
        m.d.sync += [  # a cycle late, as a grant is
            self.busy.eq(written),
            self.wait_out.eq(self.scratch.request.valid & ~self.scratch.request.ready),
            self.wait_in.eq(walking & ~self.scratch.request.valid & ~stop),
        ]
        return m

    def _begin(self, m, generator, walker, stop):
        """Hands an instruction to the requesting half, and through a one-entry queue to the writing half.

        Returns whether there is one, and whether that being written is for a slice that is not there.
        """
        layout = isa.layout(isa.Op.LOAD)
        operands = layout(self.issue.p.operands[: layout.size])
        queued = Signal()
        walk = Signal(WALK, reset_less=True)
        index = Signal(INDEX_BITS, reset_less=True)
        target = Signal(data.StructLayout({"slice": SLICE_BITS, "every": 1}), reset_less=True)
        strange = Signal(reset_less=True)
        m.d.comb += [
            self.issue.ready.eq(generator.i.ready & ~queued & ~stop),
            self.started.eq(self.issue.valid & self.issue.ready),
            generator.i.valid.eq(self.started),
            *(generator.i.p[name].eq(operands[name]) for name, _ in generator.transfer),
            generator.regions.eq(self.regions),
            walker.i.valid.eq(queued),
            walker.i.p.eq(walk),
        ]
        with m.If(self.started):
            m.d.sync += [queued.eq(1), index.eq(self.issue.p.index)]
            m.d.sync += [walk[name].eq(operands[name]) for name, _ in WALK]
            m.d.sync += [target.slice.eq(operands.slice), target.every.eq(operands.every)]
        with m.If(queued & walker.i.ready):
            m.d.sync += [queued.eq(0), self.fault_index.eq(index), strange.eq(target.slice >= self.slices)]
            m.d.sync += [self.slice.eq(target.slice), self.every.eq(target.every)]
        return queued | walker.o.valid, strange

    def _request(self, m, generator, fifo, stop):
        """Requests bursts there is room for, accepts their data; returns whether all requested words are written."""
        pending = Signal(range(self.fifo_words + 1))
        m.d.comb += [
            fifo.last.eq(generator.last),
            fifo.reserve.eq(generator.reserve),
            generator.allow.eq(fifo.room & ~stop),
            self.bus.ar.valid.eq(generator.o.valid),
            self.bus.ar.p.address.eq(generator.o.p.address),
            self.bus.ar.p.last.eq(generator.o.p.last),
            generator.o.ready.eq(self.bus.ar.ready),
            self.bus.r.ready.eq(1),
            fifo.i.valid.eq(self.bus.r.valid),
            fifo.i.p.data.eq(self.bus.r.p.data),
            fifo.i.p.error.eq(self.bus.r.p.error),
        ]
        arrived = self.bus.r.valid & self.bus.r.p.last
        m.d.sync += pending.eq(up_down(pending, up=generator.reserve, down=arrived))
        m.d.comb += self.quiet.eq(pending == 0)
        return fifo.empty

"""FETCH: memory to weight stream."""

from amaranth import *
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from hw.axi.signature import AXIRead
from hw.dma.burst_generator import REGIONS, BurstGenerator
from hw.dma.burst_queue import BurstQueue
from hw.spec import isa
from hw.units.carry_chain import up_down
from hw.units.ports import INDEX_BITS, engine_members

__all__ = ["OUTSTANDING", "FetchEngine"]

OUTSTANDING = 4  # bursts; two reach LiteDRAM's full rate, and its 21 cycles of latency are half a burst more

_FIELDS = {field.name: field.bits for field in isa.OPERANDS[isa.Op.FETCH]}


class FetchEngine(Component):
    """Appends ``words`` consecutive memory words to the stream.

    A burst is requested only after room for it has been set aside in the stream FIFO, so read data are always accepted.
    At most ``OUTSTANDING`` bursts are outstanding: enough to hide a memory's latency, few enough that a LOAD does not
    queue behind a whole FIFO's worth of weights. An instruction retires when its last word enters the FIFO, and
    the next one begins then. A stall of ``stream`` fills the FIFO and then ends requests, nothing else.

    ``busy``: a word arrives; ``wait_in``: words are outstanding and none arrives; ``wait_out``: no room for a burst.

    Parameters
    ----------
    word_bits : int
    stream_words : int
        Depth of the stream FIFO, at least `burst_beats`.
    burst_beats : int
        A power of two.

    Members
    -------
    see `engine_members`
    regions : In(REGIONS)
    bus : Out(AXIRead(word_bits))
        With id 1.
    stream : Out(stream(word_bits))
    """

    def __init__(self, *, word_bits, stream_words, burst_beats):
        if stream_words < burst_beats:
            raise ValueError(f"stream_words must be at least burst_beats ({burst_beats}), not {stream_words}")
        self.word_bits = word_bits
        self.stream_words = stream_words
        self.burst_beats = burst_beats
        super().__init__({
            **engine_members(),
            "regions": In(REGIONS),
            "bus": Out(AXIRead(word_bits)),
            "stream": Out(stream.Signature(self.word_bits)),
        })

    def elaborate(self, _platform):
        m = Module()
        m.submodules.generator = generator = BurstGenerator(
            word_bits=self.word_bits, burst_beats=self.burst_beats, run_bits=_FIELDS["words"], levels=0
        )
        m.submodules.fifo = fifo = BurstQueue(shape=unsigned(self.word_bits), depth=self.stream_words, block=True)
        connect(m, fifo.o, flipped(self.stream))

        layout = isa.layout(isa.Op.FETCH)
        operands = layout(self.issue.p.operands[: layout.size])
        index = Signal(INDEX_BITS, reset_less=True)
        stop, stopped = Signal(), Signal()
        pending = Signal(range(OUTSTANDING + 1))  # bursts
        m.d.comb += [
            stop.eq(self.halt | stopped),
            self.issue.ready.eq(generator.i.ready & (pending == 0) & ~stop),
            self.started.eq(self.issue.valid & self.issue.ready),
            generator.i.valid.eq(self.started),
            generator.i.p.region.eq(operands.region),
            generator.i.p.offset.eq(operands.offset),
            generator.i.p.run.eq(operands.words),
            generator.regions.eq(self.regions),
        ]
        with m.If(self.started):
            m.d.sync += index.eq(self.issue.p.index)

        m.d.comb += [
            fifo.last.eq(generator.last),
            fifo.reserve.eq(generator.reserve),
            generator.allow.eq(fifo.room & (pending < OUTSTANDING) & ~stop),
            self.bus.ar.valid.eq(generator.o.valid),
            self.bus.ar.p.address.eq(generator.o.p.address),
            self.bus.ar.p.last.eq(generator.o.p.last),
            generator.o.ready.eq(self.bus.ar.ready),
        ]

        arrives = self.bus.r.valid
        done = Signal()
        error = Signal()
        m.d.comb += [
            self.bus.r.ready.eq(1),
            fifo.i.valid.eq(arrives),
            fifo.i.p.eq(self.bus.r.p.data),
            done.eq(arrives & self.bus.r.p.last),
            error.eq(arrives & self.bus.r.p.error & ~stop),
            self.retired.eq(done & (pending == 1) & generator.i.ready & ~error & ~stop),
            self.fault_index.eq(index),
        ]
        fault = Signal.like(self.fault)
        with m.If(error):
            m.d.comb += fault.eq(isa.Fault.BUS_READ)
        with m.Elif(generator.outside):
            m.d.comb += fault.eq(isa.Fault.REGION_ADDRESS)
        m.d.sync += self.fault.eq(fault)
        with m.If(fault != 0):
            m.d.sync += stopped.eq(1)

        m.d.sync += pending.eq(up_down(pending, up=generator.reserve, down=done))
        m.d.comb += [
            self.quiet.eq(pending == 0),
            self.busy.eq(arrives),
            self.wait_in.eq(~arrives & (pending != 0)),
            self.wait_out.eq(~arrives & (pending == 0) & ~generator.i.ready & ~fifo.room),
        ]
        return m

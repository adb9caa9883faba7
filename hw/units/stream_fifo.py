"""A FIFO between two streams, in distributed or in block RAM."""

from amaranth import *
from amaranth.lib import stream
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered
from amaranth.lib.wiring import Component, In, Out

__all__ = ["StreamFIFO"]


class StreamFIFO(Component):
    """Order is kept; one word in and one word out per cycle.

    The output comes from a register in both kinds. ``ready`` of ``i`` is high while at least one of the `depth` entries
    is free, so who counts entries itself need not look at it.

    Parameters
    ----------
    shape : ShapeLike
        Payload.
    depth : int
        Entries of the memory, at least 2. Distributed RAM holds one more, in the output register.
    block : bool
        Block RAM (for hundreds of entries) instead of distributed RAM (for tens).

    Members
    -------
    i : In(stream)
    o : Out(stream)
    latency : int
        Cycles from an entry's arrival to ``o.valid`` when empty.
    """

    latency = 2

    def __init__(self, *, shape, depth, block=False):
        if depth < 2:
            raise ValueError(f"depth must be at least 2, not {depth}")
        self.shape = shape
        self.depth = depth
        self.block = block
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, _platform):
        m = Module()
        width = Shape.cast(self.shape).width
        kind = SyncFIFOBuffered if self.block else SyncFIFO
        m.submodules.fifo = fifo = kind(width=width, depth=self.depth)
        m.d.comb += [
            fifo.w_data.eq(self.i.p),
            fifo.w_en.eq(self.i.valid),
            self.i.ready.eq(fifo.w_rdy),
        ]
        if self.block:
            m.d.comb += [
                Value.cast(self.o.p).eq(fifo.r_data),
                self.o.valid.eq(fifo.r_rdy),
                fifo.r_en.eq(self.o.ready),
            ]
            return m
        step = Signal()
        word = Signal(width, reset_less=True)
        valid = Signal()
        m.d.comb += [
            step.eq(self.o.ready | ~valid),
            fifo.r_en.eq(step),
            self.o.valid.eq(valid),
            Value.cast(self.o.p).eq(word),
        ]
        with m.If(step):
            m.d.sync += [valid.eq(fifo.r_rdy), word.eq(fifo.r_data)]
        return m

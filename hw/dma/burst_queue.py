"""A FIFO whose room is promised before what fills it is asked for, in bursts."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.dma.credit import credit
from hw.units.stream_fifo import StreamFIFO

__all__ = ["BurstQueue"]


class BurstQueue(wiring.Component):
    """Order is kept; a word leaves ``latency`` cycles after its arrival at the earliest, one per cycle.

    Who asks for ``last`` + 1 words raises ``reserve``, while there is ``room`` for them; each arrives at ``i`` once,
    any number of cycles later, and is accepted then. A word's place is free again in the cycle after it was taken.

    Parameters
    ----------
    shape : ShapeLike
    depth : int
        Words reserved and not yet taken, at most.
    block : bool
        See `StreamFIFO`.
    single : bool
        Words are reserved one at a time: ``last`` is zero, and ``room`` a register.

    Members
    -------
    last : In(8), room : Out(1), reserve : In(1)
    i : In(stream), o : Out(stream)
    empty : Out(1)
        Nothing is reserved that has not been taken.
    """

    latency = StreamFIFO.latency

    def __init__(self, *, shape, depth, block=False, single=False):
        self.depth = depth
        self.single = single
        self._fifo = StreamFIFO(shape=shape, depth=depth, block=block)
        super().__init__({
            "last": In(8),
            "room": Out(1),
            "reserve": In(1),
            "i": In(stream.Signature(shape)),
            "o": Out(stream.Signature(shape)),
            "empty": Out(1),
        })

    def elaborate(self, _platform):
        m = Module()
        m.submodules.fifo = fifo = self._fifo
        free = Signal(range(self.depth + 1), init=self.depth)
        wiring.connect(m, wiring.flipped(self.i), fifo.i)
        wiring.connect(m, fifo.o, wiring.flipped(self.o))
        give = self.o.valid & self.o.ready
        m.d.comb += self.empty.eq(free == self.depth)
        m.d.sync += free.eq(credit(free, take=self.reserve, last=self.last, give=give))
        if self.single:
            some = Signal(init=1)
            m.d.comb += self.room.eq(some)
            m.d.sync += some.eq(give | free[1:].any() | (free[0] & ~self.reserve))
        else:
            m.d.comb += self.room.eq(free > self.last)
        return m

"""A stream to several slices, each of which takes its words in its own time."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.units.stream_fifo import StreamFIFO

__all__ = ["Broadcast"]


class Broadcast(wiring.Component):
    """Every word of ``i`` to each of `count` streams ``o``, by way of a short FIFO each.

    A word is taken when all of them have room for it, so that one slice may be `depth` + 1 words ahead of another. It
    is offered ``latency`` cycles after that.

    Parameters
    ----------
    shape : ShapeLike
    count : int
        Streams.
    depth : int
        Words of each FIFO's memory; it holds one more.

    Members
    -------
    i : In(stream), o : Out(stream).array(count)
    """

    latency = StreamFIFO.latency

    def __init__(self, *, shape, count, depth):
        self._fifos = [StreamFIFO(shape=shape, depth=depth) for _ in range(count)]
        super().__init__({
            "i": In(stream.Signature(shape)),
            "o": Out(stream.Signature(shape)).array(count),
        })

    def elaborate(self, _platform):
        m = Module()
        room = Signal()
        m.d.comb += [room.eq(Cat(fifo.i.ready for fifo in self._fifos).all()), self.i.ready.eq(room)]
        for number, (fifo, out) in enumerate(zip(self._fifos, self.o, strict=True)):
            m.submodules[f"fifo_{number}"] = fifo
            m.d.comb += [fifo.i.valid.eq(self.i.valid & room), fifo.i.payload.eq(self.i.payload)]
            wiring.connect(m, fifo.o, wiring.flipped(out))
        return m

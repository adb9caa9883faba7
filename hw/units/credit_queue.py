"""A queue behind pipelines that never stall: it admits at their entry only what it will have room for."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from hw.units.carry_chain import up_down

__all__ = ["CreditQueue"]


class CreditQueue(wiring.Component):
    """Order is kept; an item leaves ``latency`` cycles after its arrival at the earliest, one per cycle.

    Who feeds the pipeline raises ``begin`` for each item that enters it, while there is ``room``; every item begun
    arrives at ``i`` once, any number of cycles later, and is accepted then. So a stall at ``o`` reaches the pipeline's
    entry as one registered bit and nothing in between. An item occupies its place from ``begin`` until it is taken: a
    rate of one per cycle needs the depth that :meth:`depth_behind` tells.

    Parameters
    ----------
    shape : ShapeLike
    depth : int
        Items begun and not yet taken, at most; a power of two, in distributed RAM.

    Members
    -------
    room : Out(1), begin : In(1)
    i : In({"valid", "payload"})
    o : Out(stream)
    """

    latency = 1

    def __init__(self, *, shape, depth):
        self.shape = shape
        self.depth = depth
        self.index_bits = exact_log2(depth)
        super().__init__({
            "room": Out(1),
            "begin": In(1),
            "i": In(data.StructLayout({"valid": 1, "payload": shape})),
            "o": Out(stream.Signature(shape)),
        })

    @classmethod
    def depth_behind(cls, latency):
        """Least depth for an item per cycle behind a pipeline of `latency` cycles."""
        return 1 << ceil_log2(latency + cls.latency + 1)

    def elaborate(self, _platform):
        m = Module()
        m.submodules.memory = memory = Memory(shape=self.shape, depth=self.depth, init=[])
        write, read = memory.write_port(), memory.read_port(domain="comb")
        begun = Signal(range(self.depth + 1))  # and not taken
        stored = Signal(range(self.depth + 1))
        some = Signal()  # stored != 0
        first, last = Signal(self.index_bits), Signal(self.index_bits)
        taken = Signal()
        m.d.comb += [
            self.room.eq(~begun[-1]),
            taken.eq(some & self.o.ready),
            write.addr.eq(last),
            write.data.eq(self.i.payload),
            write.en.eq(self.i.valid),
            read.addr.eq(first),
            self.o.valid.eq(some),
            self.o.payload.eq(read.data),
        ]
        m.d.sync += [
            begun.eq(up_down(begun, up=self.begin, down=taken)),
            stored.eq(up_down(stored, up=self.i.valid, down=taken)),
            some.eq(self.i.valid | stored[1:].any() | (stored[0] & ~taken)),
            first.eq(first + taken),
            last.eq(last + self.i.valid),
        ]
        return m

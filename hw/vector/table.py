"""Any function of a byte, by a table of its 256 results."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import memory
from amaranth.utils import exact_log2

from hw.spec.memory import TABLE_ENTRIES, TABLE_ENTRY_BYTES
from hw.spec.timing import Timing
from hw.units.memory_attributes import NEVER_TOGETHER
from hw.vector.row_unit import RowUnit

__all__ = ["Table"]

ENTRY_BITS = 8 * TABLE_ENTRY_BYTES
PORTS = 2  # of a block RAM, one of which also writes


class Table(RowUnit):
    """Computes :func:`arith.table`, `lanes` elements per cycle: entries[x + 128], 16 bits of which are offered.

    The entries come first, in ``words`` (`hw.spec.memory.table_entries`), and are written one per cycle; until the last
    one is, no element is taken. Every two lanes have a copy of them in a memory with two ports. Results leave
    ``latency`` cycles after their elements enter; a stalled output stalls them.

    Parameters
    ----------
    lanes : int
    word_bits : int

    Members
    -------
    start : In(1)
        Another table comes; nothing is under way.
    words : In(stream of words)
    i : {"x", "mask", "last"}
    o : {"x", "mask", "last"}
        Of the mask's lanes only.
    """

    def __init__(self, *, lanes, word_bits, max_row=4096):
        super().__init__(
            lanes=lanes, x=8, timing=self.timing(max_row=max_row), words=word_bits, results=signed(ENTRY_BITS)
        )
        self.word_bits = word_bits

    @staticmethod
    def timing(**_sizes):
        """The first entry is there a cycle before the first elements are."""
        return Timing(latency=1, lead=TABLE_ENTRIES - 1)

    def elaborate(self, _platform):
        m = Module()
        entry = Signal(exact_log2(TABLE_ENTRIES))  # to be written
        loaded = Signal()
        position = exact_log2(self.word_bits // ENTRY_BITS)  # bits of an entry's place in its word
        write, take = Signal(), Signal()
        m.d.comb += [
            write.eq(~loaded & self.words.valid),
            self.words.ready.eq(write & entry[:position].all()),
            self.i.ready.eq(loaded & (self.o.ready | ~self.o.valid)),
            take.eq(self.i.valid & self.i.ready),
        ]
        with m.If(write):
            m.d.sync += [entry.eq(entry + 1), loaded.eq(entry.all())]
        with m.If(self.start):
            m.d.sync += [entry.eq(0), loaded.eq(0)]

        with m.If(take):
            m.d.sync += [self.o.p.mask.eq(self.i.p.mask), self.o.p.last.eq(self.i.p.last)]
        with m.If(self.i.ready):
            m.d.sync += self.o.valid.eq(self.i.valid)
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)

        addresses = [Cat(x[:-1], ~x[-1]) for x in self.i.p.x]  # x + 128
        for first in range(0, self.lanes, PORTS):
            m.submodules[f"copy{first}"] = copy = memory.Memory(
                shape=ENTRY_BITS, depth=TABLE_ENTRIES, init=[], attrs=NEVER_TOGETHER
            )
            shared = Signal.like(entry, name=f"address{first}")
            port = copy.write_port()
            m.d.comb += [
                shared.eq(Mux(loaded, addresses[first], entry)),
                port.en.eq(write),
                port.addr.eq(shared),
                port.data.eq(self.words.payload.word_select(entry[:position], ENTRY_BITS)),
            ]
            for lane in range(first, min(first + PORTS, self.lanes)):
                read = copy.read_port()
                m.d.comb += [
                    read.en.eq(take),
                    read.addr.eq(shared if lane == first else addresses[lane]),
                    self.o.p.x[lane].eq(read.data),
                ]
        return m

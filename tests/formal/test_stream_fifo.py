# amaranth: UnusedElaboratable=no
"""The queues between streams: for ever, nothing is lost, invented, reordered or withdrawn."""

from amaranth.hdl import Assert, Cover, Module, Mux, Signal

from hw.units.stream_fifo import StreamFIFO
from tests.support.formal import Proof, inputs, inside, levels, proved, waits

QUEUES = ((2, False), (32, False), (128, True), (512, True))  # entries, in block RAM, of the boards' cores


def queue(depth, block):
    """With items of a bit: what it does with them does not depend on what they are."""

    def make(unit):
        m = Module()
        m.submodules.dut = dut = unit(shape=1, depth=depth, block=block)
        inner, level, out = levels(inside(dut), block)
        size = depth - block  # of the memory; the output register of a block RAM counts as one of its entries
        bits = len(inner.produce) + 1

        def behind(pointer, by):
            total = (pointer + by)[:bits]
            return Mux(total >= size, total - size, total)

        take, give = dut.i.valid & dut.i.ready, dut.o.valid & dut.o.ready
        # An item, any, from its arrival until it is taken: how many are before it.
        chosen, there, item, ahead = Signal(), Signal(), Signal(), Signal(bits)
        line = inner.storage.read_port(domain="comb")
        stored = Signal(bits)
        m.d.comb += [
            stored.eq(level + out),
            line.addr.eq(behind(inner.consume, ahead - out)),
            # What is assumed of it in an induction, and holds.
            Assert(inner.produce < size),
            Assert(inner.consume < size),
            Assert(level <= size),
            Assert(inner.produce == behind(inner.consume, level)),
            Assert(~there | (ahead < stored)),
            Assert(~there | (ahead == 0) & out | (line.data == item)),
            Assert(~there | (ahead != 0) | ~out | (dut.o.p == item)),
            # What it promises.
            Assert(dut.o.valid == out),
            Assert(dut.i.ready == (level != size)),
            Cover(give & there & (ahead == 1) & (stored == 2)),
        ]
        with m.If(give & there & (ahead == 0)):
            m.d.comb += Assert(dut.o.p == item)
            m.d.sync += there.eq(0)
        with m.Elif(give & there):
            m.d.sync += ahead.eq(ahead - 1)
        with m.If(take & chosen & ~there):
            m.d.sync += [there.eq(1), item.eq(dut.i.p), ahead.eq(stored - give)]
        waits(m, dut.o, "o")
        return m, [*inputs(dut), chosen]

    return make


PROOFS = [
    *(
        Proof(
            name=f"queue of {depth} in {'block' if block else 'distributed'} RAM",
            what="delivers every item once and in order, unchanged while it waits, and has room as long as it has",
            make=queue(depth, block), unit=StreamFIFO, depth=2, forever=True,
            mutant=("fifo.r_en.eq(self.o.ready)", "fifo.r_en.eq(1)") if block else ("self.o.ready | ~valid", "1"),
        )
        for depth, block in QUEUES
    ),
]  # fmt: skip

test_holds, test_says_something, test_finds_its_mutant = proved(PROOFS)

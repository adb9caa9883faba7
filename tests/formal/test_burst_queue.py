# amaranth: UnusedElaboratable=no
"""The queue of bursts: what was promised is never refused."""

from amaranth.hdl import Assert, Assume, Cover, Module, Mux, Signal

from hw.dma.burst_queue import BurstQueue
from tests.support.formal import Proof, inputs, inside, levels, proved, waits

BURST_QUEUES = ((32, False), (128, True), (512, True))  # words, in block RAM, of the boards' cores


def burst_queue(depth, block):
    def make(unit):
        m = Module()
        m.submodules.dut = dut = unit(shape=1, depth=depth, block=block)
        own = inside(dut)
        _, level, out = levels(inside(own.fifo), block)
        promised, kept = Signal(12), Signal(12)  # words that were reserved and have not arrived, that are there
        m.d.comb += [
            kept.eq(level + out),
            Assume(~dut.reserve | dut.room),
            Assume(~dut.i.valid | (promised != 0)),
            Assert(promised + kept <= depth),
            Assert(own.free + promised + kept == depth),
            Assert(dut.room == (depth - promised - kept > dut.last)),
            Assert(dut.empty == (promised + kept == 0)),
            Assert(~dut.i.valid | dut.i.ready),
            Cover((promised == 0) & (kept == 2)),
            Cover((promised + kept == depth) & dut.o.valid),
        ]
        m.d.sync += promised.eq(promised + Mux(dut.reserve, dut.last + 1, 0) - dut.i.valid)
        waits(m, dut.o, "o")
        return m, inputs(dut)

    return make


PROOFS = [
    *(
        Proof(
            name=f"queue of bursts, of {depth} words in {'block' if block else 'distributed'} RAM",
            what="has room exactly as long as it has, and never refuses what was promised",
            make=burst_queue(depth, block), unit=BurstQueue, depth=2, forever=True, covers=8,
            mutant=("self.room.eq(free > self.last)", "self.room.eq(free >= self.last)"),
        )
        for depth, block in BURST_QUEUES
    ),
]  # fmt: skip

test_holds, test_says_something, test_finds_its_mutant = proved(PROOFS)

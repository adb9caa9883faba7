# amaranth: UnusedElaboratable=no
"""The queue of bursts: what was promised is never refused."""

from amaranth.hdl import Assert, Assume, Cover, Module, Mux, Signal

from hw.dma.burst_queue import BurstQueue
from tests.support.formal import Proof, inputs, inside, proved, waits


def burst_queue(unit):
    """In distributed RAM, with room for eight."""
    m = Module()
    m.submodules.dut = dut = unit(shape=1, depth=8)
    own = inside(dut)
    queue = inside(own.fifo)
    promised, kept = Signal(8), Signal(8)  # words that were reserved and have not arrived, that are there
    m.d.comb += [
        kept.eq(queue.fifo.level + queue.valid),
        Assume(~dut.reserve | dut.room),
        Assume(~dut.i.valid | (promised != 0)),
        Assert(promised + kept <= 8),
        Assert(own.free + promised + kept == 8),
        Assert(dut.room == (8 - promised - kept > dut.last)),
        Assert(dut.empty == (promised + kept == 0)),
        Assert(~dut.i.valid | dut.i.ready),
        Cover((promised == 0) & (kept == 8)),
    ]
    m.d.sync += promised.eq(promised + Mux(dut.reserve, dut.last + 1, 0) - dut.i.valid)
    waits(m, dut.o, "o")
    return m, inputs(dut)


PROOFS = [
    Proof(
        name="queue of bursts, of 8 words",
        what="has room exactly as long as it has, and never refuses what was promised",
        make=burst_queue, unit=BurstQueue, depth=2, forever=True, covers=14,
        mutant=("self.room.eq(free > self.last)", "self.room.eq(free >= self.last)"),
    ),
]  # fmt: skip

test_holds, test_says_something, test_finds_its_mutant = proved(PROOFS)

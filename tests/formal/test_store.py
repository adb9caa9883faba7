# amaranth: UnusedElaboratable=no
"""STORE's writes: how many are outstanding is known, and nothing is when it says that it is quiet."""

from amaranth.hdl import Assert, Assume, Cover, Module, Signal

from hw.dma.store import StoreEngine
from tests.support.formal import Proof, in_state, inputs, inside, proved, waits


def writes(unit):
    """Whatever instructions, regions, halts and stalls are; the memory answers bursts that it was told of."""
    m = Module()
    m.submodules.dut = dut = unit(word_bits=64, scratch_words=64, burst_beats=4)
    own = inside(dut)
    offered = in_state(inside(own.generator).m, "Send")
    told = Signal(5)  # bursts whose address the memory has taken, and not yet answered
    m.d.comb += [
        Assume(~dut.bus.b.valid | (told != 0)),
        Assert(own.pending == told + offered),
        Assert(told + offered <= dut.bursts),
        Assert(dut.bus.aw.valid == offered),
        Assert(dut.quiet == ((told == 0) & ~offered)),
        Assert(dut.bus.b.ready),
        Assert(~dut.retired | (dut.bus.b.valid & (told == 1) & ~offered)),
        Cover(told == 1),
        Cover(dut.retired),
    ]
    m.d.sync += told.eq(told + (dut.bus.aw.valid & dut.bus.aw.ready) - dut.bus.b.valid)
    waits(m, dut.bus.aw, "aw")
    return m, inputs(dut)


PROOFS = [
    Proof(
        name="writes of STORE, 64 bits",
        what="eight bursts outstanding at most, counted exactly; retired and quiet only when all are answered",
        make=writes,
        unit=StoreEngine,
        depth=2,
        forever=True,
        covers=16,
        mutant=("(pending == 1) & generator.i.ready", "generator.i.ready"),
    ),
]

test_holds, test_says_something, test_finds_its_mutant = proved(PROOFS)

# amaranth: UnusedElaboratable=no
"""FETCH's reads: how many are outstanding is known, and nothing is when it says that it is quiet."""

from amaranth.hdl import Assert, Assume, Cover, Module, Signal

from hw.dma.fetch import OUTSTANDING, FetchEngine
from tests.support.formal import Proof, in_state, inputs, inside, proved, waits


def reads(unit):
    """Whatever instructions, regions, halts and stalls are; the memory answers what was asked, and no more."""
    m = Module()
    m.submodules.dut = dut = unit(word_bits=64, stream_words=64, burst_beats=16)
    own = inside(dut)
    offered = in_state(inside(own.generator).m, "Send")
    asked = Signal(4)  # bursts that the memory has taken and not yet answered
    ends = dut.bus.r.valid & dut.bus.r.p.last
    m.d.comb += [
        Assume(~dut.bus.r.valid | (asked != 0)),
        Assert(own.pending == asked + offered),
        Assert(asked + offered <= OUTSTANDING),
        Assert(dut.bus.ar.valid == offered),
        Assert(dut.quiet == ((asked == 0) & ~offered)),
        Assert(dut.bus.r.ready),
        Assert(~dut.retired | (ends & (asked == 1) & ~offered)),
        Cover(asked == 2),
        Cover(dut.retired),
    ]
    m.d.sync += asked.eq(asked + (dut.bus.ar.valid & dut.bus.ar.ready) - ends)
    waits(m, dut.bus.ar, "ar")
    return m, inputs(dut)


PROOFS = [
    Proof(
        name="reads of FETCH, 64 bits",
        what="four bursts outstanding at most, counted exactly; retired and quiet only when all are answered",
        make=reads,
        unit=FetchEngine,
        depth=2,
        forever=True,
        covers=15,
        mutant=("up=generator.reserve, down=done", "up=generator.reserve, down=done & 0"),
    ),
]

test_holds, test_says_something, test_finds_its_mutant = proved(PROOFS)

# amaranth: UnusedElaboratable=no
"""FETCH's reads: how many are outstanding is known, and nothing is when it says that it is quiet."""

from amaranth.hdl import Assert, Assume, Cover, Module, Signal

from hw.dma.fetch import OUTSTANDING, FetchEngine
from tests.support.formal import Proof, in_state, inputs, inside, proved, waits

FETCHES = ((64, 128, 16), (128, 512, 16), (256, 512, 16))  # bits and words of a stream, beats, of the boards' cores


def reads(word_bits, stream_words, burst_beats):
    """Whatever instructions, regions, halts and stalls are; the memory answers what was asked, and no more."""

    def make(unit):
        m = Module()
        m.submodules.dut = dut = unit(word_bits=word_bits, stream_words=stream_words, burst_beats=burst_beats)
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

    return make


PROOFS = [
    *(
        Proof(
            name=f"reads of FETCH, {bits} bits by {beats} beats, stream of {words} words",
            what="four bursts outstanding at most, counted exactly; retired and quiet only when all are answered",
            make=reads(bits, words, beats), unit=FetchEngine, depth=1, forever=True, covers=15,
            mutant=("up=generator.reserve, down=done", "up=generator.reserve, down=done & 0"),
        )
        for bits, words, beats in FETCHES
    ),
]  # fmt: skip

test_holds, test_says_something, test_finds_its_mutant = proved(PROOFS)

# amaranth: UnusedElaboratable=no
"""LOAD's reads: never more than there is room for, and nothing outstanding when it says that it is quiet."""

from amaranth.hdl import Assert, Cover, Module, Mux, Signal

from hw.dma.load import LoadEngine
from tests.support.formal import Proof, answered, in_state, inputs, inside, proved, waits

# Of LOAD and STORE: bits of a word, words of the scratchpad, beats of the longest burst, slices, of the boards' cores.
MOVERS = ((64, 2048, 16, 1), (128, 8192, 16, 1), (128, 16384, 16, 1), (128, 8192, 16, 3), (256, 8192, 16, 4))


def reads(word_bits, scratch_words, burst_beats, slices):
    """Whatever instructions, regions, halts and stalls are."""

    def make(unit):
        m = Module()
        m.submodules.dut = dut = unit(
            word_bits=word_bits, scratch_words=scratch_words, burst_beats=burst_beats, slices=slices
        )
        own = inside(dut)
        offered = in_state(inside(own.generator).m, "Send")
        asked, owed = answered(m, dut.bus)
        queue = inside(own.fifo)
        words = inside(queue.fifo)
        was_last = Signal()  # the last word of a walk was granted
        length = dut.bus.ar.p.last + 1
        m.d.sync += was_last.eq(dut.scratch.request.valid & dut.scratch.request.ready & own.walker.o.p.final)
        m.d.comb += [
            Assert(own.pending == asked + offered),
            Assert(queue.free + owed + Mux(offered, length, 0) + words.fifo.level + words.valid == dut.fifo_words),
            Assert(~dut.bus.r.valid | own.fifo.i.ready),
            Assert(dut.bus.r.ready),
            Assert(dut.bus.ar.valid == offered),
            Assert(dut.quiet == ((asked == 0) & ~offered)),
            Assert(dut.retired == was_last),
            Cover(asked == 2),
            Cover(dut.retired),
        ]
        waits(m, dut.bus.ar, "ar")
        waits(m, dut.scratch.request, "scratch", unless=own.ended)
        return m, inputs(dut)

    return make


PROOFS = [
    *(
        Proof(
            name=f"reads of LOAD, {bits} bits by {beats} beats, {words} words and {slices} slices",
            what="words asked for have room, of all that come; counted exactly; quiet only when all are answered, "
            "retired only behind the last write",
            make=reads(bits, words, beats, slices), unit=LoadEngine, depth=2, forever=True, covers=15,
            mutant=("generator.allow.eq(fifo.room & ~stop)", "generator.allow.eq(~stop)"),
        )
        for bits, words, beats, slices in MOVERS
    ),
]  # fmt: skip

test_holds, test_says_something, test_finds_its_mutant = proved(PROOFS)

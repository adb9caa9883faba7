# amaranth: UnusedElaboratable=no
"""LOAD's reads: never more than there is room for, and nothing outstanding when it says that it is quiet."""

from amaranth.hdl import Assert, Cover, Module, Mux, Signal

from hw.dma.load import LoadEngine
from tests.support.formal import Proof, answered, in_state, inputs, inside, proved, waits


def reads(unit):
    """Whatever instructions, regions, halts and stalls are."""
    m = Module()
    m.submodules.dut = dut = unit(word_bits=64, scratch_words=2048, burst_beats=16)
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
    waits(m, dut.scratch.request, "scratch", unless=own.stop)
    return m, inputs(dut)


PROOFS = [
    Proof(
        name="reads of LOAD, 64 bits by 16 beats",
        what="words asked for have room, of all that come; counted exactly; quiet only when all are answered, retired "
        "only behind the last write",
        make=reads,
        unit=LoadEngine,
        depth=2,
        forever=True,
        covers=15,
        mutant=("generator.allow.eq(fifo.room & ~stop)", "generator.allow.eq(~stop)"),
    ),
]

test_holds, test_says_something, test_finds_its_mutant = proved(PROOFS)

# amaranth: UnusedElaboratable=no
"""The arbiter of writes: counts do not wrap, data and answers are those of their masters."""

from amaranth.hdl import Assert, Assume, Cover, Module, Signal, Value

from hw.axi.write_arbiter import AxiWriteArbiter
from tests.support.formal import Proof, inputs, inside, proved, waits


def writes_arbitrated(unit):
    """Counts neither wrap nor lose; data and answers are those of the master whose bursts are under way."""
    m = Module()
    m.submodules.dut = dut = unit(word_bits=8, masters=2)
    own = inside(dut)
    taken = [master.aw.valid & master.aw.ready for master in dut.masters]
    last_sent = dut.bus.w.valid & dut.bus.w.ready & dut.bus.w.p.last
    answered = dut.bus.b.valid & dut.bus.b.ready
    under_way = [Signal(9, name=f"under_way_{n}") for n in range(2)]  # bursts of a master not yet answered
    unsent = Signal(9)
    m.d.comb += [
        Assume(~dut.bus.b.valid | (own.unanswered > own.unsent)),  # no answer before the last of the data
        Assert(own.unanswered == under_way[0] + under_way[1]),
        Assert(own.unsent == unsent),
        Assert(unsent <= own.unanswered),
        Assert(~dut.bus.w.valid | (unsent != 0)),
        Assert(~(taken[0] & taken[1])),
        Cover((unsent == 2) & (own.unanswered == 3)),
    ]
    m.d.sync += unsent.eq(unsent + (taken[0] | taken[1]) - last_sent)
    for number, master in enumerate(dut.masters):
        mine = own.owner == number
        gets = master.b.valid & master.b.ready
        m.d.sync += under_way[number].eq(under_way[number] + taken[number] - gets)
        m.d.comb += [
            Assert(mine | (under_way[number] == 0)),
            Assert(~master.b.valid | (under_way[number] != 0)),
            Assert(gets == (answered & mine)),
            Assert(~(master.w.valid & master.w.ready) | (mine & dut.bus.w.valid & dut.bus.w.ready)),
            Assert(~mine | ~dut.bus.w.valid | (Value.cast(dut.bus.w.payload) == Value.cast(master.w.payload))),
            Cover(gets & (under_way[number] == 2)),
        ]
    waits(m, dut.bus.aw, "aw")
    return m, inputs(dut)


PROOFS = [
    Proof(
        name="writes of 2 masters",
        what="counts do not wrap; data and answers belong to the master whose bursts are under way",
        make=writes_arbitrated, unit=AxiWriteArbiter, depth=2, forever=True, covers=12,
        mutant=("unanswered == 0)", "1)"),
    ),
]  # fmt: skip

test_holds, test_says_something, test_finds_its_mutant = proved(PROOFS)

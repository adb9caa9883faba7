# amaranth: UnusedElaboratable=no
"""The arbiter of reads: bursts and answers are those of their masters."""

from amaranth.hdl import Assert, Cat, Const, Cover, Module, Signal, Value

from hw.axi.read_arbiter import AxiReadArbiter
from tests.support.formal import Proof, inputs, inside, proved, waits


def at_most_one(bits):
    return ~(bits & (bits - 1)).any()


def reads_arbitrated(masters):
    """Each burst taken from a master is offered with its number, in order, and no other; answers go where they say."""

    def make(unit):
        m = Module()
        m.submodules.dut = dut = unit(word_bits=8, masters=masters)
        own = inside(dut)
        held, full, count = Signal(len(Value.cast(dut.bus.ar.payload))), Signal(), Signal(4)
        taken = Cat(master.ar.valid & master.ar.ready for master in dut.masters)
        m.d.comb += [
            Assert(own.previous.any() & at_most_one(own.previous)),
            Assert(at_most_one(taken)),
            Assert(dut.bus.ar.valid == full),
            Assert(~full | (Value.cast(dut.bus.ar.payload) == held)),
            Cover(full & dut.bus.ar.ready & (dut.bus.ar.p.id == masters - 1) & (count == 3)),
        ]
        with m.If(full & dut.bus.ar.ready):
            m.d.sync += [full.eq(0), count.eq(count + 1)]
        for number, master in enumerate(dut.masters):
            with m.If(taken[number]):
                m.d.comb += Assert(~full | dut.bus.ar.ready)
                m.d.sync += [full.eq(1), held.eq(Cat(master.ar.p.address, master.ar.p.last, Const(number, 2)))]
            mine = dut.bus.r.valid & (dut.bus.r.p.id == number)
            m.d.comb += [
                Assert(master.r.valid == mine),
                Assert(~mine | (dut.bus.r.ready == master.r.ready)),
                Assert(~mine | (Cat(master.r.p.data, master.r.p.error, master.r.p.last)
                                == Cat(dut.bus.r.p.data, dut.bus.r.p.error, dut.bus.r.p.last))),
            ]  # fmt: skip
        waits(m, dut.bus.ar, "ar")
        return m, inputs(dut)

    return make


PROOFS = [
    *(
        Proof(
            name=f"reads of {masters} masters",
            what="every burst once, with its master's number, one at a time; answers to that master, unchanged",
            make=reads_arbitrated(masters), unit=AxiReadArbiter, depth=2, forever=True, covers=10,
            mutant=("step.eq(~valid | self.bus.ar.ready)", "step.eq(1)"),
        )
        for masters in (3, 4)
    ),
]  # fmt: skip

test_holds, test_says_something, test_finds_its_mutant = proved(PROOFS)

# amaranth: UnusedElaboratable=no
"""The program reader: its bursts are of the program and keep to AXI4, and nothing is outstanding when it is idle."""

from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Cover, Module, Signal
from amaranth.utils import exact_log2

from hw.dma.burst_generator import PAGE
from hw.sequencer.program_reader import ProgramReader
from tests.support.formal import Proof, in_state, inputs, inside, proved, waits

PROGRAMS = ((64, 18), (128, 12), (256, 9))  # bits of a word, of the boards' cores; cycles of its covers


def program(word_bits):
    """Of any place and length; begun and gone on with only while it is idle, as the sequencer does."""

    def make(unit):
        m = Module()
        m.submodules.dut = dut = unit(word_bits=word_bits, burst=4)
        own = inside(dut)
        ar, beats = dut.bus.ar, dut.beats
        plan, ask = (in_state(own.m, name) for name in ("Plan", "Ask"))
        owed = Signal(8)  # beats that the memory has not brought
        first, end = Signal(33), Signal(33)  # bytes
        unread = Signal(4)  # instructions of the present burst that are not through
        held = own.arrived
        m.d.comb += [
            dut.base.eq(AnyConst(len(dut.base))),
            dut.length.eq(AnyConst(len(dut.length))),
            Assume(~(dut.start | dut.resume) | dut.idle),
            Assume(~dut.resume | dut.stopped),
            Assume(~dut.bus.r.valid | (owed != 0)),
            Assume(dut.bus.r.p.last == (owed == 1)),
            first.eq(ar.p.address),
            end.eq(first + ((ar.p.last + 1) << exact_log2(word_bits // 8)) - 1),
            unread.eq((owed + held + beats - 1) >> exact_log2(beats)),
            # What is assumed of it in an induction, and holds.
            Assert(plan | ask | in_state(own.m, "Receive")),
            Assert(in_state(own.m, "Receive") == (owed != 0)),
            Assert(own.coming == (-owed)[: len(own.coming)]),
            Assert(~held | (own.beat == (own.coming - 1)[: len(own.beat)])),
            Assert(~ask | ((own.count != 0) & (own.count <= dut.burst) & ~held)),
            Assert(~ask | (own.address == (dut.base + dut.index)[: len(dut.base)])),
            Assert(owed <= dut.burst * beats),
            # What it promises.
            Assert(ar.valid == ask),
            Assert(~ask | (owed == 0)),
            Assert(~ask | (ar.p.last < dut.burst * beats)),
            Assert(~ask | (first[exact_log2(PAGE) :] == end[exact_log2(PAGE) :])),
            Assert(~ask | (dut.index + own.count <= dut.length)),
            Assert(dut.index + (unread & (~dut.stopped).replicate(len(unread))) <= dut.length),
            Assert(dut.idle == (plan & (owed == 0) & ~held)),
            Assert(dut.bus.r.ready),
            Cover(ask & (own.count == 3)),
            Cover(dut.at_halt & dut.idle & (dut.index == 2)),
        ]
        m.d.sync += owed.eq(owed - dut.bus.r.valid)
        with m.If(ar.valid & ar.ready):
            m.d.sync += owed.eq(ar.p.last + 1)
        waits(m, ar, "ar")
        constant = {len(dut.base), len(dut.length)}
        return m, [port for port in inputs(dut) if len(port) not in constant]

    return make


PROOFS = [
    *(
        Proof(
            name=f"reads of the program, {word_bits} bits",
            what="one burst at a time, of the program and within 4 KiB, unchanged while it waits; nothing outstanding "
            "and no beat held when it is idle",
            make=program(word_bits), unit=ProgramReader, depth=2, forever=True, covers=covers,
            mutant=("Mux(left < to_boundary, left, to_boundary)", "to_boundary"),
        )
        for word_bits, covers in PROGRAMS
    ),
]  # fmt: skip

test_holds, test_says_something, test_finds_its_mutant = proved(PROOFS)

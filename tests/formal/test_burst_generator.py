# amaranth: UnusedElaboratable=no
"""Bursts: the rules of AXI4 and of regions, for ever, at the sizes of the boards' cores."""

from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Const, Cover, Module, Mux, Signal, Value
from amaranth.utils import exact_log2

from hw.dma.burst_generator import PAGE, BurstGenerator
from tests.support.formal import Proof, in_state, inputs, inside, proved, waits

BURSTS = ((64, 16), (128, 16), (256, 16))  # bits of a word, beats of the longest burst, of the boards' cores


def bursts(word_bits, burst_beats, levels):
    """What a burst is held to by AXI4 and by its region, whatever operands, regions and permissions are."""

    def make(unit):
        m = Module()
        m.submodules.dut = dut = unit(word_bits=word_bits, burst_beats=burst_beats, run_bits=12, levels=levels)
        own = inside(dut)
        word, last, limit, high = own.word, own.last, own.limit, own.word_bits
        m.d.comb += Value.cast(dut.regions).eq(AnyConst(len(Value.cast(dut.regions))))
        first, end = Signal(34), Signal(34)  # bytes
        m.d.comb += [first.eq(word << dut.word_shift), end.eq((word + last + 1) << dut.word_shift)]
        region = dut.regions[own.transfer.region]
        # Assumed in an induction, and so: what each state has made.
        turn = in_state(own.m, "Turn") if levels else Const(0)
        checked = in_state(own.m, "Compare", "Check", "Send")
        begun = checked | turn | in_state(own.m, "Size")
        based = begun | in_state(own.m, "Limit")
        need = Mux(levels != 0, last, own.left)
        outside = (word + need >= limit) | word[high:].any()
        m.d.comb += [
            Assert(own.idle == in_state(own.m, "Idle")),
            Assert(own.at_base == in_state(own.m, "Base")),
            Assert(own.at_limit == in_state(own.m, "Limit")),
            Assert(own.turn == turn),
            Assert(based | in_state(own.m, "Idle", "Base", "Dead")),
            Assert(~in_state(own.m, "Base") | ~word[len(dut.i.p.offset) :].any()),
            Assert(~checked | ((last <= own.room) & (last <= own.left))),
            Assert(~begun | (limit == own.base + own.size)),
            Assert(~in_state(own.m, "Compare") | (own.space == limit - word)),
            Assert(~in_state(own.m, "Check") | (own.beyond == outside)),
            Assert(~in_state(own.m, "Send") | ~outside),
            Assert(~based | (word >= own.base)),
        ]
        if levels:
            m.d.comb += [
                Assert(~based | ((own.base <= own.group) & (own.group <= own.run))),
                Assert(~based | turn | (own.run <= word)),
                Assert(~turn | ~(own.run[high:] | own.group[high:]).any()),
            ]
        # What is promised.
        with m.If(dut.o.valid):
            m.d.comb += [
                Assert(dut.o.p.last < dut.burst_beats),
                Assert(dut.o.p.address == first),
                Assert(first[exact_log2(PAGE) :] == (end - 1)[exact_log2(PAGE) :]),
                Assert(first >> dut.word_shift >= region.base >> dut.word_shift),
                Assert(end >> dut.word_shift <= (region.base >> dut.word_shift) + (region.size >> dut.word_shift)),
                Cover(dut.o.p.last == dut.burst_beats - 1),
                Cover((dut.o.p.last == 2) & ~dut.o.p.final),
            ]
        m.d.comb += Cover(dut.outside)
        waits(m, dut.o, "o")
        return m, [port for port in inputs(dut) if len(port) != len(Value.cast(dut.regions))]

    return make


PROOFS = [
    *(
        Proof(
            name=f"bursts of {what}, {word_bits} bits by {beats} beats",
            what="at most so many beats, within 4 KiB, inside the region, unchanged while they wait",
            make=bursts(word_bits, beats, levels), unit=BurstGenerator, depth=2, forever=True, covers=12,
            mutant=("space[-1] | short", "short"),
        )
        for word_bits, beats in BURSTS for what, levels in (("a transfer", 2), ("a run", 0))
    ),
]  # fmt: skip

test_holds, test_says_something, test_finds_its_mutant = proved(PROOFS)

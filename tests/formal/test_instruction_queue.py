# amaranth: UnusedElaboratable=no
"""The instruction queue: an engine's instructions in order, none lost or doubled, none written over."""

from amaranth.asserts import AnyConst
from amaranth.hdl import Array, Assert, Assume, Cat, Cover, Module, Mux, Signal, Value

from hw.sequencer.instruction_queue import InstructionQueue
from hw.spec import isa
from tests.support.formal import Proof, driven, inputs, inside, proved

INSTRUCTION_QUEUES = (
    (5, 32, 64, 4),
    (5, 32, 128, 4),
    (5, 32, 256, 4),
)  # engines, depth, bits, burst, of the boards' cores


def filled(m, queue, own):
    """Asserts how a head is filled: one at a time, claimed from when it begins until it is taken."""
    heads, filling, arrived = queue.heads, own.filling, own.arrived
    last = queue.beats - 1
    engine, came, newest = driven(own.m).engine, own.arrived_engine, queue.newest
    valid = Array(head.valid for head in heads)
    m.d.comb += [
        Assert(engine < queue.engines), Assert(came < queue.engines), Assert(newest.engine < queue.engines),
        Assert(Mux(arrived & (own.arrived_beat != last), filling & (engine == came), 1)),
        Assert(Mux(arrived, ~filling | (own.arrived_beat != last), 1)),
        Assert(own.beat == Mux(arrived & (own.arrived_beat != last), own.arrived_beat + 1, 0)),
        Assert(own.arrived_beat <= last),
        *(
            Assert(own.claimed[e] == heads[e].valid | filling & (engine == e) | arrived & (came == e))
            for e in range(queue.engines)
        ),
        Assert(~filling | ~valid[engine]),
        Assert(~arrived | ~valid[came]),
        Assert(~newest.valid | valid[newest.engine] & ~arrived),
    ]  # fmt: skip


def kept(engines, depth, word_bits, burst):
    """Of an engine, any, an instruction, any, and a bit of it, any: it leaves behind those before it, unchanged.

    A burst of instructions is written when there is room for it, one at a time, each word by word, not all of them
    made part of a queue; it may end early, and all be forgotten in any cycle.
    """

    def make(unit):
        m = Module()
        m.submodules.dut = dut = unit(engines=engines, depth=depth, word_bits=word_bits, burst=burst)
        own = inside(dut)
        w, bits, last = dut.write, len(own.tails[0]), dut.beats - 1
        filled(m, dut, own)
        mine, beat, chosen = Signal(range(engines)), Signal(range(dut.beats)), Signal()
        m.d.comb += [mine.eq(AnyConst(range(engines))), beat.eq(AnyConst(range(dut.beats)))]
        m.d.comb += [Assume(mine < engines), Assume(beat <= last)]

        # What is written: `left` instructions more, the next one's word `part`.
        ask, end, left, part = Signal(), Signal(), Signal(range(burst + 1)), Signal(range(dut.beats))
        writer = Signal.like(w.engine)
        m.d.comb += [
            Assume(~w.valid | (left != 0) & (w.beat == part)),
            Assume(~w.valid | (part == 0) | (w.engine == writer)),
            Assume(~w.last | (part == last) & (w.engine < engines)),
            Assert(left <= burst), Assert((part == 0) | (left != 0)), Assert(part <= last),
        ]  # fmt: skip

        # How many there are: in the memory, those being read out included, and in all.
        head = Array(dut.heads)[mine]
        queued, tail, front = (Array(each)[mine] for each in (own.queued, own.tails, own.fronts))
        claimed, busy, comes = Signal(), Signal(), Signal()
        total, count, old = Signal(bits + 2), Signal(bits + 2), Signal()
        push, take = own.pushed & (w.engine == mine), head.valid & head.ready
        fill_ends = busy & (own.beat == last)
        m.d.comb += [
            claimed.eq(own.claimed.bit_select(mine, 1)),
            busy.eq(own.filling & (driven(own.m).engine == mine)),
            comes.eq(own.arrived & (own.arrived_engine == mine)),
            total.eq(queued + busy),
            Assert(tail == (front + total)[:bits]),
            Assert(count == queued + claimed),
            Assert(~dut.empty | (count == 0)),
            # One that was being read out when there was room is gone before an instruction is whole.
            Assert(total + left <= depth + old),
            Assert(~old | busy & (left == burst) & (own.beat > part)),
        ]
        m.d.sync += [count.eq(count + push - take), old.eq(old & ~fill_ends)]
        with m.If(w.valid):
            m.d.sync += [part.eq(Mux(part == last, 0, part + 1)), writer.eq(w.engine), left.eq(left - (part == last))]
        with m.Elif(ask & (left == 0) & dut.room):
            m.d.sync += [left.eq(burst), old.eq(busy & ~fill_ends)]
        with m.Elif(end & (part == 0)):
            m.d.sync += [left.eq(0), old.eq(0)]
        with m.If(dut.clear):
            m.d.sync += Cat(count, old, left, part).eq(0)

        # The instruction, from its last word until it is taken: where it is, and how many are before it.
        memory = {name: own.memory.read_port(domain="comb") for name in ("row", "tail")}
        row, ahead, there, loaded = Signal(bits), Signal(bits + 2), Signal(), Signal()
        bit = Signal(range(word_bits + dut.tag_bits))
        item, draft, word = Signal(), Signal(), Signal()
        given = Cat(w.data, w.index.word_select(beat, dut.tag_bits))
        words, indices = Array(Value.cast(each.p.word) for each in dut.heads), Array(each.p.index for each in dut.heads)
        held = Cat(words[mine].word_select(beat, word_bits), indices[mine].word_select(beat, dut.tag_bits)).bit_select(
            bit, 1
        )
        place = Signal(bits)  # behind the first one in the memory
        m.d.comb += [
            bit.eq(AnyConst(range(len(given)))),
            word.eq(Mux(w.valid & (w.beat == beat), given.bit_select(bit, 1), draft)),
            memory["row"].addr.eq(dut._row(beat, row, mine)),
            memory["tail"].addr.eq(dut._row(beat, tail, mine)),
            Assert((part <= beat) | (writer != mine) | (memory["tail"].data.bit_select(bit, 1) == draft)),
            place.eq(row - front),
        ]
        m.d.sync += draft.eq(word)
        with m.If(push & chosen & ~there):
            m.d.sync += [there.eq(1), loaded.eq(0), row.eq(tail), item.eq(word), ahead.eq(count - take)]
        with m.Elif(there & take):
            m.d.sync += [ahead.eq(ahead - 1), there.eq(ahead != 0)]
        with m.If(there & fill_ends & (place == 0)):
            m.d.sync += loaded.eq(1)
        with m.If(dut.clear):
            m.d.sync += there.eq(0)
        with m.If(there & ~loaded):
            m.d.comb += [
                Assert(place < total),
                Assert(memory["row"].data.bit_select(bit, 1) == item),
                Assert(ahead == place + (claimed & ~busy)),
            ]
        with m.If(there & (loaded | busy & (place == 0))):
            m.d.comb += [
                Assert(~comes | (own.arrived_beat <= beat) | (held == item)),
                Assert(~comes | (own.arrived_beat != beat) | (own.read.data.bit_select(bit, 1) == item)),
            ]
        with m.If(there & loaded):
            m.d.comb += [Assert(claimed & ~busy), Assert(ahead == 0), Assert(comes | (held == item))]
        with m.If(there & take & (ahead == 0)):
            m.d.comb += [Assert(loaded), Assert(held == item), Cover(mine == isa.Engine.STORE)]
        m.d.comb += Cover(there & (ahead == 2))
        return m, [*inputs(dut), ask, end, chosen]

    return make


PROOFS = [
    *(
        Proof(
            name=f"instruction queues of {engines} engines by {depth}, {bits} bits",
            what="every instruction once and in order of its engine's, unchanged; none is written over, if bursts of "
            f"{burst} are written when there is room",
            make=kept(engines, depth, bits, burst), unit=InstructionQueue, depth=1, forever=True, covers=18,
            mutant=("level <= self.depth - self.burst", "level <= self.depth - self.burst + 1"),
        )
        for engines, depth, bits, burst in INSTRUCTION_QUEUES
    ),
]  # fmt: skip

test_holds, test_says_something, test_finds_its_mutant = proved(PROOFS)

# amaranth: UnusedElaboratable=no
"""STORE's writes: bursts as long as they say, of words that are there, and nothing outstanding when it is quiet."""

from itertools import pairwise

from amaranth.asserts import AnyConst
from amaranth.hdl import Array, Assert, Assume, Cat, Cover, Module, Mux, Signal
from amaranth.utils import exact_log2

from hw.dma.store import StoreEngine
from hw.spec import isa
from hw.units.scratchpad import Scratchpad
from tests.formal.test_load import MOVERS
from tests.support.formal import ANEW, Proof, in_state, inputs, inside, levels, proved, waits


def writes(word_bits, scratch_words, burst_beats, slices):
    """Whatever instructions, regions, halts and stalls are; the memory answers bursts that it has been sent."""

    def make(unit):
        m = Module()
        m.submodules.dut = dut = unit(
            word_bits=word_bits, scratch_words=scratch_words, burst_beats=burst_beats, slices=slices
        )
        own = inside(dut)
        generator = inside(own.generator)
        offered = in_state(generator.m, "Send")
        states = {
            "Idle": generator.idle,
            "Base": generator.at_base,
            "Limit": generator.at_limit,
            "Turn": generator.turn,
        }
        told = Signal(5)  # bursts whose address the memory has taken, and not yet answered
        m.d.comb += [
            *(Assert(bit == in_state(generator.m, name)) for name, bit in states.items()),
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
        waits(m, dut.bus.w, "w")
        count, read, sent = data_of_bursts(m, dut, own)
        if slices == 1:
            m.d.comb += Assert(dut.bus.w.p.strobe.all())
            return m, inputs(dut)
        m.d.comb += [
            Assume(~dut.bus.b.valid | (own.pending != count)),  # of a burst that was wholly sent
            Assume(~dut.started | (own.unsent == 0)),  # its halves have gone through as many words
            Assert(own.pending >= count),
            Assert(~dut.started | (read == sent)),
        ]
        return m, [*inputs(dut), strobes(m, dut, own, read, sent)]

    return make


def data_of_bursts(m, dut, own):
    """The beats of each burst, in the order of addresses, and that their words are there before they are announced.

    Returns how many bursts are announced and not wholly sent, and how many words were read and sent, modulo 128.
    """
    bits = exact_log2(dut.burst_beats)
    ends = [Signal(bits + 3, name=f"end_{k}") for k in range(4)]  # of each burst: the words sent when it is
    announced, sent, count, gone, newest = Signal(bits + 3), Signal(bits + 3), Signal(3), Signal(bits), Signal(bits)
    begins, beat, ended = own.generator.reserve, dut.bus.w.valid & dut.bus.w.ready, Signal()
    length, end = own.generator.last, Signal(bits + 3)
    m.d.comb += [
        ended.eq(beat & ((sent + 1)[: bits + 3] == ends[0])),
        end.eq(announced + length + 1),
        Assert(~dut.bus.w.valid | (count != 0)),
        Assert(~dut.bus.w.valid | (dut.bus.w.p.last == ((sent + 1)[: bits + 3] == ends[0]))),
        Assert(~dut.bus.aw.valid | (dut.bus.aw.p.last == newest)),
        Assert(count <= 4),
        Cover(ended & (gone == 2)),
    ]
    m.d.sync += [count.eq(count + begins - ended), gone.eq(Mux(ended, 0, gone + beat)), sent.eq(sent + beat)]
    with m.If(begins):
        m.d.sync += [newest.eq(length), announced.eq(end)]
    for place, (at, following) in enumerate(zip(ends, [*ends[1:], 0], strict=True)):
        with m.If(begins & (count - ended == place)):
            m.d.sync += at.eq(end)
        with m.Elif(ended):
            m.d.sync += at.eq(following)
    # Where the lengths are: of the burst being sent, in the output register of their queue, in its memory.
    lengths = inside(own.lengths)
    inner = inside(lengths.fifo)
    lines = []
    for k in range(2):
        line = inner.storage.read_port(domain="comb")
        m.d.comb += line.addr.eq(inner.consume + k)
        lines.append(line.data)
    limits = Array([sent, *ends])  # burst k is of the words from limits[k] up to limits[k + 1]
    behind = Signal(2)

    def is_length(value, place):
        return ((limits[place] + value + 1)[: bits + 3] == limits[place + 1]) & (value < dut.burst_beats)

    m.d.comb += [
        behind.eq(own.active + lengths.valid),
        Assert(count == behind + lengths.fifo.level),
        Assert(lengths.fifo.level <= 2),
        Assert(inner.produce == (inner.consume + lengths.fifo.level)[0]),
        Assert(limits[count] == announced),
        Assert(~own.active | is_length(own.left, 0)),
        Assert(~lengths.valid | is_length(lengths.word, own.active)),
        *(Assert((lengths.fifo.level <= k) | is_length(lines[k], behind + k)) for k in range(2)),
    ]
    # Where the words are: on their way from the scratchpad, in the queue.
    queue = inside(own.fifo)
    words = inside(queue.fifo)
    under_way = Signal(Scratchpad.latency)
    counts = [Signal(bits + 3, name=f"read_{age}") for age in range(Scratchpad.latency + 1)]  # so many cycles ago
    read, came, there = counts[0], counts[-1], Signal(bits + 3)
    m.d.sync += [under_way.eq(Cat(own.granted, under_way)), read.eq(read + own.granted)]
    m.d.sync += [later.eq(count) for count, later in pairwise(counts)]
    m.d.comb += [
        Assume(dut.scratch.valid == under_way[-1]),
        there.eq(read - sent),
        *(
            Assert((later + bit)[: bits + 3] == count)
            for count, later, bit in zip(counts, counts[1:], under_way, strict=False)
        ),
        Assert((sent + words.fifo.level + words.valid)[: bits + 3] == came),
        Assert((announced + own.unsent)[: bits + 3] == read),
        Assert(queue.free + there == dut.fifo_words),
        Assert(queue.some == (queue.free != 0)),
        Assert(own.unsent <= there),
        Assert(words.fifo.level + words.valid <= there),
    ]
    return count, read, sent


def strobes(m, dut, own, read, sent):
    """Of a byte, any, of a word, any: whether it is written is what its instruction says. Returns the choice, free."""
    layout, size = isa.layout(isa.Op.STORE), dut.word_bits // 8
    given = Signal(layout, reset_less=True)  # of the instruction under way
    word, run = Signal(12), Signal(12)  # of the word that is read next: its place in its run, its run's in its group
    chosen, byte = Signal(), Signal(range(size))
    is_first, is_last, run_ends, written = Signal(), Signal(), Signal(), Signal()
    m.d.comb += [
        byte.eq(AnyConst(range(size))),
        is_first.eq(run == 0),
        is_last.eq(run == given.count1),
        run_ends.eq(word == given.run),
        written.eq(~(is_first & (byte < given.skip)) & ~(is_last & (byte + given.drop >= size))),
    ]
    with m.If(own.granted):
        m.d.sync += word.eq(Mux(run_ends, 0, word + 1))
        m.d.sync += run.eq(Mux(run_ends, Mux(is_last, 0, run + 1), run))
    with m.If(dut.started):
        m.d.sync += [given.eq(layout(dut.issue.p.operands[: layout.size])), word.eq(0), run.eq(0)]
    # The word, from when it is read until it is sent.
    there, number, item = Signal(), Signal.like(sent), Signal()
    beat = dut.bus.w.valid & dut.bus.w.ready
    with m.If(own.granted & chosen & ~there):
        m.d.sync += [there.eq(1), number.eq(read), item.eq(written)]
    with m.If(dut.bus.w.valid & there & (number == sent)):
        m.d.comb += Assert(dut.bus.w.p.strobe.bit_select(byte, 1) == item)
        m.d.comb += [
            Cover(~item & (given.skip == 2) & (byte == 1)),
            Cover(~item & (given.drop == 2) & (byte == size - 2)),
        ]
        m.d.sync += there.eq(~beat)
    # Where it is told of: by the walk, then in the memory and the output register of a queue, as of which run it is.
    walker, runs = inside(own.walker), inside(own.runs)
    memory, level, out = levels(runs, False)
    line = memory.storage.read_port(domain="comb")
    ahead = Signal.like(sent)

    def tells(marks):
        first, last = own.first.bit_select(byte, 1), own.last.bit_select(byte, 1)
        return item == Mux(marks[0], first, 1) & Mux(marks[1], last, 1)

    m.d.comb += [
        Assert(Cat(dut._edges.skip, dut._edges.drop) == Cat(given.skip, given.drop)),
        Assert((read == sent) | (own.first == Cat(k >= given.skip for k in range(size)))),
        Assert((read == sent) | (own.last == Cat(k + given.drop < size for k in range(size)))),
        ahead.eq(number - sent),
        line.addr.eq(memory.consume + ahead - out),
        Assert(memory.produce == (memory.consume + level)[: len(memory.produce)]),
        Assert((sent + level + out)[: len(sent)] == read),
        Assert(out | ~own.fifo.o.valid),
        Assert(~there | (ahead < (read - sent)[: len(sent)])),
        Assert(~there | (ahead == 0) & out | tells(line.data)),
        Assert(~there | (ahead != 0) | ~out | tells(runs.word)),
    ]
    with m.If(walker.active):
        m.d.comb += [
            Assert(Cat(walker.walk.run, walker.walk.count1) == Cat(given.run, given.count1)),
            Assert((word <= given.run) & (run <= given.count1)),
            Assert(walker.left0 == (given.run - word)[:12]),
            Assert(walker.left1 == (given.count1 - run)[:12]),
            Assert(Cat(walker.run_ends, walker.first1, walker.last1) == Cat(run_ends, is_first, is_last)),
        ]
    return chosen


# Of one slice, and of several.
STROBES = ("every byte is written", "every byte is written but those that its instruction leaves out")
MUTANTS = (
    ("lengths.i.p.eq(generator.last)", "lengths.i.p.eq(0)"),
    ("every >> self._edges.drop", "every >> self._edges.skip"),
)

PROOFS = [
    *(
        Proof(
            name=f"writes of STORE, {bits} bits by {beats} beats, {words} words and {slices} slices",
            what="eight bursts outstanding at most, counted exactly; retired and quiet only when all are answered; "
            "each of as many beats as its address said, the last one marked, of words read before; unchanged while "
            f"they wait; {STROBES[slices > 1]}",
            make=writes(bits, words, beats, slices), unit=StoreEngine, depth=1, forever=True, covers=16,
            mutant=MUTANTS[slices > 1], engine=ANEW,
        )
        for bits, words, beats, slices in MOVERS
    ),
]  # fmt: skip

test_holds, test_says_something, test_finds_its_mutant = proved(PROOFS)

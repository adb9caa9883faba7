# amaranth: UnusedElaboratable=no
"""STORE's writes: bursts as long as they say, of words that are there, and nothing outstanding when it is quiet."""

from amaranth.hdl import Array, Assert, Assume, Cat, Cover, Module, Mux, Signal
from amaranth.utils import exact_log2

from hw.dma.store import StoreEngine
from hw.units.scratchpad import Scratchpad
from tests.support.formal import Proof, in_state, inputs, inside, proved, waits


def writes(unit):
    """Whatever instructions, regions, halts and stalls are; the memory answers bursts that it was told of."""
    m = Module()
    m.submodules.dut = dut = unit(word_bits=64, scratch_words=2048, burst_beats=16)
    own = inside(dut)
    offered = in_state(inside(own.generator).m, "Send")
    told = Signal(5)  # bursts whose address the memory has taken, and not yet answered
    m.d.comb += [
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
    data_of_bursts(m, dut, own)
    return m, inputs(dut)


def data_of_bursts(m, dut, own):
    """The beats of each burst, in the order of addresses, and that their words are there before they are announced."""
    bits = exact_log2(dut.burst_beats)
    last = [
        Signal(bits, name=f"last_{k}") for k in range(4)
    ]  # of bursts announced and not wholly sent: beats minus one
    count, gone, newest = Signal(3), Signal(bits), Signal(bits)  # of those; beats sent of the first one
    begins, beat = own.generator.reserve, dut.bus.w.valid & dut.bus.w.ready
    ends = beat & (gone == last[0])
    m.d.comb += [
        Assert(~dut.bus.w.valid | (count != 0)),
        Assert(~dut.bus.w.valid | (dut.bus.w.p.last == (gone == last[0]))),
        Assert(~dut.bus.aw.valid | (dut.bus.aw.p.last == newest)),
        Assert(count <= 4),
        Cover(ends & (gone == 2)),
    ]
    m.d.sync += [count.eq(count + begins - ends), gone.eq(Mux(ends, 0, gone + beat))]
    with m.If(begins):
        m.d.sync += newest.eq(own.generator.last)
    for place, (length, following) in enumerate(zip(last, [*last[1:], 0], strict=True)):
        with m.If(begins & (count - ends == place)):
            m.d.sync += length.eq(own.generator.last)
        with m.Elif(ends):
            m.d.sync += length.eq(following)
    # Where the lengths are: of the burst being sent, in the output register of their queue, in its memory.
    lengths = inside(own.lengths)
    inner = inside(lengths.fifo)
    lines = []
    for k in range(2):
        line = inner.storage.read_port(domain="comb")
        m.d.comb += line.addr.eq(inner.consume + k)
        lines.append(line.data)
    at, behind = Array([*last, 0, 0]), Signal(2)
    m.d.comb += [
        behind.eq(own.active + lengths.valid),
        Assert(count == behind + lengths.fifo.level),
        Assert(lengths.fifo.level <= 2),
        Assert(inner.produce == (inner.consume + lengths.fifo.level)[0]),
        Assert(Mux(own.active, own.left + gone == last[0], gone == 0)),
        Assert(~lengths.valid | (lengths.word == at[own.active])),
        *(Assert((lengths.fifo.level <= k) | (lines[k] == at[behind + k])) for k in range(2)),
    ]
    # Where the words are: on their way from the scratchpad, in the queue.
    under_way = Signal(Scratchpad.latency)
    m.d.sync += under_way.eq(Cat(own.granted, under_way))
    queue = inside(own.fifo)
    words = inside(queue.fifo)
    there, announced = Signal(bits + 3), Signal(bits + 3)
    m.d.comb += [
        Assume(dut.scratch.valid == under_way[-1]),
        there.eq(words.fifo.level + words.valid + sum(under_way)),
        announced.eq(sum(Mux(place < count, length + 1, 0) for place, length in enumerate(last)) - gone),
        Assert(queue.free + there == dut.fifo_words),
        Assert(own.unsent + announced == there),
        Assert(announced <= there),
    ]


PROOFS = [
    Proof(
        name="writes of STORE, 64 bits by 16 beats",
        what="eight bursts outstanding at most, counted exactly; retired and quiet only when all are answered; "
        "each of as many beats as its address said, the last one marked, of words read before; unchanged while they "
        "wait",
        make=writes,
        unit=StoreEngine,
        depth=2,
        forever=True,
        covers=16,
        mutant=("lengths.i.p.eq(generator.last)", "lengths.i.p.eq(0)"),
    ),
]

test_holds, test_says_something, test_finds_its_mutant = proved(PROOFS)

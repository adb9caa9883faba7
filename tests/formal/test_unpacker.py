# amaranth: UnusedElaboratable=no
"""The unpacker: every element once, in its place, whatever the mode, with every stall."""

from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.utils import exact_log2

from hw.vector.unpacker import Unpacker
from tests.support.formal import Proof, inputs, inside, proved, started, waits

UNPACKERS = ((8, 2), (16, 1), (16, 2), (32, 4))  # bytes of a word and elements of a beat, of the boards' cores

_MODE = data.StructLayout({"wide": 1, "grouped": 1, "length_m1": 12, "rows_m1": 8})


def unpacked(rows, lanes):
    """Of an element of a beat, any: it is the word's whose turn it is. At most two beats are there, in order."""

    def make(unit):
        m = Module()
        m.submodules.dut = dut = unit(rows=rows, lanes=lanes)
        own = inside(dut)
        begun, free = started(m, dut, _MODE)
        o = dut.o.p
        # The first element of the beat that is made next: its number in its row, in its word; rows, groups.
        number, at, row, parity = Signal(12), Signal(range(rows)), Signal(8), Signal()
        base, ended = Signal(13), Signal()  # number of the group's first one; there is no element left
        size = Mux(dut.wide, rows // 2, rows)  # elements of a word
        row_ends, word_ends, last, group_ends = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            row_ends.eq(number + lanes > dut.length_m1),
            word_ends.eq(at + lanes == size),
            last.eq(row_ends | dut.grouped & word_ends),
            group_ends.eq(last & (row == dut.rows_m1)),
            Assume(~dut.i.valid | ~ended),
        ]
        word_waits(m, dut.i)
        made = dut.i.valid & ~own.waits
        with m.If(made):
            m.d.sync += [
                at.eq(Mux(word_ends | last, 0, at + lanes)),
                row.eq(Mux(last, Mux(group_ends, 0, row + 1), row)),
                parity.eq(parity ^ group_ends),
                base.eq(Mux(dut.grouped & group_ends, base + size, base)),
                number.eq(Mux(~last, number + lanes, Mux(dut.grouped, Mux(group_ends, base + size, base), 0))),
                ended.eq(dut.grouped & group_ends & row_ends),
            ]
        with m.If(dut.start):
            m.d.sync += Cat(at, row, parity, base, number, ended).eq(0)
        with m.If(begun & ~dut.start):
            m.d.comb += [
                Assert(own.wide == dut.wide),
                Assert(own.piece == Mux(dut.wide, at << 1, at) >> exact_log2(lanes)),
                Assert(Cat(own.element, own.row, own.parity) == Cat(at, row, parity)),
                Assert((at & (lanes - 1) == 0) & (at < size)),
            ]
        with m.If(begun & ~dut.start & ~ended):
            m.d.comb += [
                Assert(number <= dut.length_m1),
                Assert(own.left == (dut.length_m1 - number)[:12]),
                Assert(~dut.grouped | (own.group_left == (dut.length_m1 - base)[:12])),
                Assert(~dut.grouped | (number == base + at)),
                Assert(~dut.grouped | (base <= dut.length_m1)),
            ]
        # What a beat is to be: the one at the output, and the one behind it.
        lane, chosen = AnyConst(range(lanes)), Signal(range(lanes))
        place, byte, x = Signal(range(rows)), Signal(8), Signal(signed(16))
        pair = Signal(16)
        m.d.comb += [
            chosen.eq(lane),
            place.eq(at + chosen),
            byte.eq(dut.i.p.word_select(place, 8)),
            pair.eq(dut.i.p.word_select(place[: exact_log2(rows // 2)], 16)),
            x.eq(Mux(dut.wide, pair.as_signed(), byte.as_signed())),
        ]
        beat = data.StructLayout({"x": 16, "there": 1, "last": 1, "group_last": 1, "index": len(o.index), "row": 8})
        next_beat, first, second = (Signal(beat, name=name) for name in ("next_beat", "first", "second"))
        m.d.comb += [
            next_beat.x.eq(x),
            next_beat.there.eq(number + chosen <= dut.length_m1),
            next_beat.last.eq(last),
            next_beat.group_last.eq(group_ends),
            next_beat.index.eq(Cat((at >> exact_log2(lanes))[: len(o.index) - 1], parity)),
            next_beat.row.eq(row),
        ]
        count, free_place = Signal(range(3)), Signal()
        give = dut.o.valid & dut.o.ready
        m.d.comb += free_place.eq((count == 0) | give)
        m.d.sync += count.eq(count - give + made)
        with m.If(give):
            m.d.sync += first.eq(second)
        with m.If(made & (count - give == 0)):
            m.d.sync += first.eq(next_beat)
        with m.If(made & (count - give == 1)):
            m.d.sync += second.eq(next_beat)
        m.d.comb += [
            Assert(dut.o.valid == (count != 0)),
            Assert(count <= 2),
            Assert(own.waits == (count == 2)),
            Assert(dut.i.ready == (made & (word_ends | last))),
            Assert(dut.coming == (dut.i.valid | own.waits)),
        ]
        with m.If(count != 0):
            m.d.comb += [Assert(begun), same(o, first, chosen)]
            m.d.comb += Cover(give & dut.wide & dut.grouped & first.there & (first.row == 1) & first.group_last)
        with m.If(count == 2):
            m.d.comb += [same(own.spare, second, chosen), Assert(own.spare_row == second.row)]
        with m.If(dut.coming):
            m.d.comb += Assert(dut.row == Mux(own.waits, second.row, row))
        waits(m, dut.o, "o")
        constant = {id(getattr(dut, name)) for name in ("start", *_MODE.members)}
        return m, [*(port for port in inputs(dut) if id(port) not in constant), *free]

    return make


def word_waits(m, port):
    """Assumes that a word that is offered stays until it is taken."""
    held, waiting = Signal.like(port.p, name="word_held"), Signal(name="word_waiting")
    m.d.sync += [held.eq(port.p), waiting.eq(port.valid & ~port.ready)]
    m.d.comb += Assume(~waiting | port.valid & (port.p == held))


def same(beat, expected, lane):
    """Asserts it of a beat's lane, and of what it ends."""
    return [
        Assert(beat.mask.bit_select(lane, 1) == expected.there),
        Assert(~expected.there | (beat.x[lane] == expected.x.as_signed())),
        Assert(Cat(beat.last, beat.group_last, beat.index) == Cat(expected.last, expected.group_last, expected.index)),
    ]


PROOFS = [
    *(
        Proof(
            name=f"unpacker of {rows} bytes into {lanes} elements",
            what="every element once, in its place, with its row, in order, unchanged while it waits, in every mode, "
            "with every stall",
            make=unpacked(rows, lanes), unit=Unpacker, depth=1, forever=True, covers=12,
            mutant=("with m.If(~waits):", "with m.If(1):"),
        )
        for rows, lanes in UNPACKERS
    ),
]  # fmt: skip

test_holds, test_says_something, test_finds_its_mutant = proved(PROOFS)

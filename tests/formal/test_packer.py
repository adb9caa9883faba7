# amaranth: UnusedElaboratable=no
"""The packer: every byte of the results once, in its place of its word, whatever the mode, with every stall."""

from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal, Value
from amaranth.lib import data

from hw.vector.packer import Packer
from tests.support.formal import Proof, inputs, inside, proved, started, waits

PACKERS = ((8, 2), (16, 1), (16, 2), (32, 4))  # bytes of a word and results of a beat, of the boards' cores

_MODE = data.StructLayout({"planes": 1, "wide": 1, "pad": 1, "halves": 1, "rows_m1": 8, "groups_m1": 12})


def packed(rows, lanes):
    """Of a byte of a word, any: it is the result's that the beats so far have brought there, or not written."""

    def make(unit):
        m = Module()
        m.submodules.dut = dut = unit(rows=rows, lanes=lanes)
        own = inside(dut)
        begun, free = started(m, dut, _MODE)
        i, o = dut.i.p, dut.o.p
        accept, step = dut.i.valid & dut.i.ready, Mux(dut.wide, 2 * lanes, lanes)
        at, fresh = Signal(range(rows)), Signal(init=1)  # byte of the next result; it is the first one of its word
        end, full, half, ends = Signal(range(rows + 1)), Signal(), Signal(), Signal()
        row, group, group_ends = Signal(8), Signal(12), Signal()
        m.d.comb += [
            end.eq(at + step),
            full.eq(end == rows),
            ends.eq(full | i.last),
            group_ends.eq(i.last & (row == dut.rows_m1)),
            Assume(~dut.wide | ~(dut.planes | dut.halves)),
            Assume(~dut.i.valid | ~dut.halves | ~full & (end != rows // 2) | i.last),
        ]
        byte, chosen = AnyConst(range(rows)), Signal(range(rows))
        m.d.comb += chosen.eq(byte)
        offset, comes, lane = Signal(range(rows)), Signal(), Signal(range(lanes))
        high, low = Signal(8), Signal(8)
        m.d.comb += [
            offset.eq(chosen - at),
            lane.eq(Mux(dut.wide, offset >> 1, offset)),
            comes.eq((chosen >= at) & (chosen < end) & i.mask.bit_select(lane, 1)),
            low.eq(i.x[lane][:8]),
            high.eq(i.x[lane][8:]),
        ]
        marks = Signal(4)  # what the newest beat ends
        there, value, value_low = Signal(), Signal(8), Signal(8)  # the byte of the word that is being collected
        with m.If(accept):
            m.d.sync += [
                there.eq(comes | there & ~fresh),
                value.eq(Mux(comes, Mux(Mux(dut.wide, offset[0], dut.planes), high, low), Mux(fresh, 0, value))),
                value_low.eq(Mux(comes, low, Mux(fresh, 0, value_low))),
                at.eq(Mux(~ends, end, Mux(half ^ (dut.halves & group_ends), rows // 2, 0))),
                half.eq(half ^ (dut.halves & group_ends)),
                fresh.eq(ends),
                row.eq(Mux(i.last, Mux(group_ends, 0, row + 1), row)),
                group.eq(group + group_ends),
                marks.eq(Cat(i.last, group_ends, ~dut.halves | half, group_ends & (group == dut.groups_m1))),
            ]
        with m.If(dut.start):
            m.d.sync += [Cat(at, half, row, group).eq(0), fresh.eq(1)]
        complete = Signal()
        m.d.sync += complete.eq(accept & ends | complete & ~dut.o.ready)
        with m.If(begun & ~dut.start):
            m.d.comb += [
                Assert(own.element == Mux(dut.wide, at >> 1, at)),
                Assert((at & (step - 1)) == 0),
                Assert(own.first == fresh),
                Assert(Cat(own.half, own.row, own.group) == Cat(half, row, group)),
                Assert(at >= Mux(half, rows // 2, 0)),
                Assert(dut.halves | ~half),
                Assert(~dut.halves | half | (at < rows // 2)),
            ]
        with m.If((begun & ~dut.start & ~fresh) | dut.o.valid):
            m.d.comb += [
                Assert(Value.cast(own.out.word).word_select(chosen, 8) == value),
                Assert(~dut.planes | (Value.cast(own.out.low).word_select(chosen, 8) == value_low)),
                Assert(Value.cast(own.written).bit_select(chosen, 1) == there),
                Assert(there | (value == 0)),
            ]
        with m.If(dut.o.valid):
            m.d.comb += [
                Assert(Value.cast(o.word).word_select(chosen, 8) == value),
                Assert(~dut.planes | (Value.cast(o.low).word_select(chosen, 8) == value_low)),
                Assert(Value.cast(o.mask).bit_select(chosen, 1) == there | dut.pad),
                Assert(begun & fresh),
                Cover(dut.wide & there & (chosen == rows - 3) & (value == 77)),
                Assert(Cat(o.last, o.group_last, o.column, o.final) == marks),
                Cover(dut.halves & there & (chosen == rows - 1) & o.final),
            ]
        m.d.comb += [Assert(dut.o.valid == complete), Assert(dut.i.ready == (~dut.o.valid | dut.o.ready))]
        waits(m, dut.o, "o")
        constant = {id(Value.cast(getattr(dut, name))) for name in ("start", *_MODE.members)}
        return m, [*(port for port in inputs(dut) if id(port) not in constant), *free]

    return make


PROOFS = [
    *(
        Proof(
            name=f"packer of {lanes} results into {rows} bytes",
            what="every byte once, in its place, and none that was not brought, in order, unchanged while it waits, in "
            "every mode, with every stall",
            make=packed(rows, lanes), unit=Packer, depth=1, forever=True, covers=rows // lanes + 5,
            mutant=("first.eq(word_end)", "first.eq(last)"),
        )
        for rows, lanes in PACKERS
    ),
]  # fmt: skip

test_holds, test_says_something, test_finds_its_mutant = proved(PROOFS)

"""Scratchpad side of a three-level transfer: one address per word."""

from amaranth import *
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from hw.spec import isa
from hw.units.carry_chain import count_down
from hw.units.ports import SCRATCH_ADDRESS_BITS

__all__ = ["WALK", "ScratchWalker"]

_FIELDS = {field.name: field.bits for field in isa.OPERANDS[isa.Op.LOAD]}

WALK = data.StructLayout({
    name: _FIELDS[name] for name in ("scratch", "run", "scratch0", "count1", "scratch1", "count2", "scratch2")
})


class ScratchWalker(Component):
    """For k2, for k1, for k0 in run: ``scratch + k2*scratch2 + k1*scratch1 + k0*scratch0``.

    One address per cycle, the first ``latency`` cycles after the walk was taken; a stall of ``o`` holds it. One idle
    cycle between walks. The sums have one bit more than an
    address and each is shown to the user before the next is formed, so ``outside`` misses none.

    Parameters
    ----------
    scratch_words : int
        Size of the scratchpad, a power of two.

    Members
    -------
    i : In(stream(WALK))
        Operands of the transfer; counts are stored minus one.
    o : Out(stream)
        ``address``; ``outside`` when it is not below `scratch_words`; ``final`` with the last word of the walk.
    first, last : Out(1)
        That word is of the first or last run of a group.
    """

    latency = 1

    def __init__(self, *, scratch_words):
        self.size_bits = exact_log2(scratch_words)
        super().__init__({
            "i": In(stream.Signature(WALK)),
            "o": Out(stream.Signature(
                data.StructLayout({"address": SCRATCH_ADDRESS_BITS, "outside": 1, "final": 1})
            )),
            "first": Out(1),
            "last": Out(1),
        })  # fmt: skip

    def elaborate(self, _platform):
        m = Module()
        walk = Signal(WALK, reset_less=True)
        word, run, group = (
            Signal(SCRATCH_ADDRESS_BITS + 1, name=name, reset_less=True) for name in ("word", "run", "group")
        )
        left0, left1, left2 = (Signal(12, name=f"left{level}", reset_less=True) for level in range(3))
        active = Signal()
        run_ends, group_ends = Signal(reset_less=True), Signal()
        last1 = Signal(reset_less=True)  # left1 == 0, as run_ends is left0 == 0
        first1 = Signal(reset_less=True)
        following = Signal(SCRATCH_ADDRESS_BITS + 1)
        outside = Signal(reset_less=True)  # of `word`
        origin, stride = Signal.like(following), Signal(SCRATCH_ADDRESS_BITS)
        m.d.comb += [
            group_ends.eq(run_ends & last1),
            origin.eq(Mux(group_ends, group, Mux(run_ends, run, word))),
            stride.eq(Mux(group_ends, walk.scratch2, Mux(run_ends, walk.scratch1, walk.scratch0))),
            following.eq(origin + stride),
            self.o.valid.eq(active),
            self.o.p.address.eq(word),
            self.o.p.outside.eq(outside),
            self.o.p.final.eq(group_ends & (left2 == 0)),
            self.first.eq(first1),
            self.last.eq(last1),
            self.i.ready.eq(~active),
        ]
        begin, step = self.i.valid & self.i.ready, active & self.o.ready
        with m.If(begin):
            m.d.sync += [
                active.eq(1),
                walk.eq(self.i.p),
                word.eq(self.i.p.scratch),
                outside.eq(self.i.p.scratch[self.size_bits :].any()),
                run.eq(self.i.p.scratch),
                group.eq(self.i.p.scratch),
                run_ends.eq(self.i.p.run == 0),
                last1.eq(self.i.p.count1 == 0),
                first1.eq(1),
            ]
        with m.Elif(step):
            m.d.sync += [
                word.eq(following),
                outside.eq(following[self.size_bits :].any()),
                run_ends.eq(Mux(run_ends, walk.run == 0, left0 == 1)),
            ]
            with m.If(run_ends):
                m.d.sync += [
                    run.eq(following),
                    first1.eq(group_ends),
                    last1.eq(Mux(group_ends, walk.count1 == 0, left1 == 1)),
                ]
            with m.If(group_ends):
                m.d.sync += group.eq(following)
            with m.If(self.o.p.final):
                m.d.sync += active.eq(0)
        with m.If(begin | step):
            m.d.sync += left0.eq(count_down(left0, load=~active | run_ends, value=Mux(active, walk.run, self.i.p.run)))
        with m.If(begin | (step & run_ends)):
            m.d.sync += left1.eq(
                count_down(left1, load=~active | last1, value=Mux(active, walk.count1, self.i.p.count1))
            )
        with m.If(begin | (step & group_ends)):
            m.d.sync += left2.eq(count_down(left2, load=~active, value=self.i.p.count2))
        return m

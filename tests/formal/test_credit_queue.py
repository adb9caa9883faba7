# amaranth: UnusedElaboratable=no
"""The queue with credits: for ever, nothing is lost, invented, reordered or withdrawn, whatever is before it."""

from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Cover, Module, Signal

from hw.units.credit_queue import CreditQueue
from tests.support.formal import Proof, inputs, inside, proved

CREDITS = (32,)  # of the boards' cores


def credit_queue(depth):
    """Of `depth`, with items of a bit: what it does with them does not depend on what they are."""

    def make(unit):
        m = Module()
        m.submodules.dut = dut = unit(shape=1, depth=depth)
        own = inside(dut)
        bits = dut.index_bits + 1
        begun, arrived, taken = (Signal(bits, name=name) for name in ("begun", "arrived", "taken"))
        queued, under_way = Signal(bits), Signal(bits)
        take = dut.o.valid & dut.o.ready
        m.d.comb += [
            queued.eq(arrived - taken),
            under_way.eq(begun - taken),
            Assume(~dut.begin | dut.room),
            Assume(~dut.i.valid | (begun != arrived)),
            # What is assumed of the queue in an induction, and holds.
            Assert(own.begun == under_way),
            Assert(own.stored == queued),
            Assert(own.first == taken[: dut.index_bits]),
            Assert(own.last == arrived[: dut.index_bits]),
            Assert(queued <= under_way),
            Assert(under_way <= depth),
            # What it promises.
            Assert(dut.o.valid == (queued != 0)),
            Assert(dut.room == (under_way != depth)),
            Cover(take & (taken == 2) & (queued == 2) & (under_way == 4)),
        ]
        m.d.sync += [begun.eq(begun + dut.begin), arrived.eq(arrived + dut.i.valid), taken.eq(taken + take)]
        # An item, any, from its arrival until it is taken: it lies where it was put.
        place, there, item = AnyConst(dut.index_bits), Signal(), Signal()
        look = own.memory.read_port(domain="comb")
        m.d.comb += look.addr.eq(place)
        age = Signal(bits)
        m.d.comb += age.eq(place - own.first)
        inside_queue = Signal()
        m.d.comb += inside_queue.eq(age[: dut.index_bits] < queued)
        m.d.comb += [Assert(inside_queue == there), Assert(~there | (look.data == item))]
        with m.If(take & (own.first == place)):
            m.d.comb += Assert(dut.o.payload == item)
            m.d.sync += there.eq(0)
        with m.If(dut.i.valid & (own.last == place)):
            m.d.sync += [there.eq(1), item.eq(dut.i.payload)]
        return m, inputs(dut)

    return make


PROOFS = [
    *(
        Proof(
            name=f"queue with credits of {depth}",
            what="delivers every item once and in order, and has room exactly as long as it has",
            make=credit_queue(depth), unit=CreditQueue, depth=2, forever=True,
            mutant=("first.eq(first + taken)", "first.eq(first + self.o.ready)"),
        )
        for depth in CREDITS
    ),
]  # fmt: skip

test_holds, test_says_something, test_finds_its_mutant = proved(PROOFS)

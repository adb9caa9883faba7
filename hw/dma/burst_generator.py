"""Memory side of a transfer: checked AXI bursts."""

from amaranth import *
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from hw.spec import isa

__all__ = ["BURST", "PAGE", "REGIONS", "BurstGenerator"]

REGIONS = data.ArrayLayout(data.StructLayout({"base": 32, "size": 32}), len(isa.Region))
BURST = data.StructLayout({"address": 32, "last": 8, "final": 1})  # `last`: beats minus one

PAGE = 4096  # no AXI burst crosses a multiple of it
_FIELDS = {field.name: field.bits for field in isa.OPERANDS[isa.Op.LOAD]}


class BurstGenerator(Component):
    """Cuts ``offset + k2*offset2 + k1*offset1 + k0``, for k2, for k1, for k0 in run, into bursts.

    A burst is as long as the run, `burst_beats` and the next 4 KiB boundary allow, and is checked against the region
    before it is shown: one that would leave it pulses ``outside`` instead and ends the generator's life until reset.
    A single run is checked as a whole: nothing of it is shown if its end is outside, whatever room there is for it.
    A burst is checked ``latency`` cycles after its transfer was taken (Base, Limit, Size, Compare, Check), the next one
    ``interval`` after it at the earliest (Send, Size, Compare, Check), and the first of a later run ``turn`` more.

    Word addresses are absolute, with one bit more than 32-bit byte addresses need: every sum of a checked
    address and a stride fits, and is checked before it is used again.

    Parameters
    ----------
    word_bits : int
    burst_beats : int
        A power of two.
    run_bits : int
        Width of ``run``.
    levels : int
        2, or 0 for a single run (then only ``region``, ``offset`` and ``run`` of the operands exist).

    Members
    -------
    i : In(stream(`transfer`))
        Operands as in the instruction; counts are stored minus one.
    regions : In(REGIONS)
        Bytes; bits below a word are ignored. Stable while a transfer is in progress.
    last : Out(8), allow : In(1), reserve : Out(1)
        A checked burst of ``last + 1`` beats waits for ``allow``; ``reserve`` pulses when it stops waiting.
        It will be sent whatever happens to ``allow`` then.
    o : Out(stream(BURST))
        ``final`` with the last burst of a transfer; it is valid with ``reserve`` already.
    outside : Out(1)
    """

    latency, interval, turn = 5, 4, 1

    def __init__(self, *, word_bits, burst_beats, run_bits, levels=2):
        self.word_shift = exact_log2(word_bits // 8)
        self.burst_beats = min(burst_beats, PAGE * 8 // word_bits)
        self.levels = levels
        fields = {"region": _FIELDS["region"], "offset": _FIELDS["offset"], "run": run_bits}
        if levels:
            fields |= {name: _FIELDS[name] for name in ("count1", "offset1", "count2", "offset2")}
        self.transfer = data.StructLayout(fields)
        super().__init__({
            "i": In(stream.Signature(self.transfer)),
            "regions": In(REGIONS),
            "last": Out(8),
            "allow": In(1),
            "reserve": Out(1),
            "o": Out(stream.Signature(BURST)),
            "outside": Out(1),
        })

    def elaborate(self, _platform):
        m = Module()
        word_bits = 32 - self.word_shift
        sum_bits = max(word_bits, _FIELDS["offset"]) + 1
        transfer = Signal(self.transfer, reset_less=True)
        word, limit = (Signal(sum_bits, name=name, reset_less=True) for name in ("word", "limit"))
        space = Signal(signed(sum_bits + 1), reset_less=True)  # words from `word` to the end of the region
        beyond = Signal(reset_less=True)
        left = Signal.like(transfer.run, reset_less=True)
        run_ends, transfer_ends = Signal(reset_less=True), Signal()
        base = Signal(word_bits)
        size = Signal(word_bits)
        a, b, total, carry = Signal(sum_bits), Signal(sum_bits), Signal(sum_bits), Signal()
        last = Signal(exact_log2(self.burst_beats), reset_less=True)
        m.d.comb += [
            base.eq(self.regions[transfer.region].base[self.word_shift :]),
            size.eq(self.regions[transfer.region].size[self.word_shift :]),
            total.eq((Cat(1, a) + Cat(carry, b))[1:]),  # one carry chain
            transfer_ends.eq(run_ends),
            self.o.p.address.eq(word << self.word_shift),
            self.o.p.last.eq(self.last),
            self.o.p.final.eq(transfer_ends),
        ]
        room = Signal.like(last)
        near = word[len(last) : exact_log2(PAGE) - self.word_shift].all()
        m.d.comb += [
            room.eq(Mux(near, ~word[: len(last)], self.burst_beats - 1)),
            self.last.eq(last),
        ]
        if self.levels:
            run, group = (Signal(sum_bits, name=name, reset_less=True) for name in ("run", "group"))
            left1, left2 = (Signal(12, name=name, reset_less=True) for name in ("left1", "left2"))
            group_ends, last_group = Signal(reset_less=True), Signal(reset_less=True)  # left1 == 0, left2 == 0
            next_group = Signal(reset_less=True)  # with `turn`: to the next group, not run; later than `group_ends`
            m.d.comb += transfer_ends.eq(run_ends & group_ends & last_group)

        # One bit each for states Idle, Base, Limit and Turn: their decoding is not in series with the adder.
        idle, at_base, at_limit, turn = Signal(init=1), Signal(), Signal(), Signal()
        m.d.comb += self.i.ready.eq(idle)
        m.d.sync += [at_base.eq(idle & self.i.valid), at_limit.eq(at_base), turn.eq(0)]
        with m.If(at_base):
            m.d.comb += [a.eq(word), b.eq(base)]
        with m.Elif(at_limit):
            m.d.comb += [a.eq(size), b.eq(base)]
        if self.levels:
            with m.Elif(turn):
                m.d.comb += [
                    a.eq(Mux(next_group, group, run)),
                    b.eq(Mux(next_group, transfer.offset2, transfer.offset1)),
                ]
        with m.Else():
            m.d.comb += [a.eq(word), b.eq(last), carry.eq(1)]

        with m.FSM():
            with m.State("Idle"):
                m.d.sync += [transfer.eq(self.i.p), word.eq(self.i.p.offset), left.eq(self.i.p.run)]
                if self.levels:
                    m.d.sync += [left1.eq(self.i.p.count1), group_ends.eq(self.i.p.count1 == 0)]
                    m.d.sync += [left2.eq(self.i.p.count2), last_group.eq(self.i.p.count2 == 0)]
                with m.If(self.i.valid):
                    m.d.sync += idle.eq(0)
                    m.next = "Base"
            with m.State("Base"):
                m.d.sync += word.eq(total)
                if self.levels:
                    m.d.sync += [run.eq(total), group.eq(total)]
                m.next = "Limit"
            with m.State("Limit"):
                m.d.sync += limit.eq(total)
                m.next = "Size"
            with m.State("Size"):
                m.d.sync += [run_ends.eq(left <= room), last.eq(Mux(left <= room, left, room)), space.eq(limit - word)]
                m.next = "Compare"
            with m.State("Compare"):
                need = last if self.levels else left
                short = ~space[len(need) :].any() & (space[: len(need)] <= need)
                m.d.sync += beyond.eq(space[-1] | short | word[word_bits:].any())
                m.next = "Check"
            with m.State("Check"):
                with m.If(beyond):
                    m.d.comb += self.outside.eq(1)
                    m.next = "Dead"
                with m.Elif(self.allow):
                    m.d.comb += self.reserve.eq(1)
                    m.next = "Send"
            with m.State("Send"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += [word.eq(total), left.eq(left - last - 1)]
                    m.next = "Size"
                    with m.If(transfer_ends):
                        m.d.sync += idle.eq(1)
                        m.next = "Idle"
                    if self.levels:
                        with m.Elif(run_ends):
                            m.d.sync += [turn.eq(1), next_group.eq(group_ends)]
                            m.next = "Turn"
            if self.levels:
                with m.State("Turn"):
                    m.next = "Size"
            with m.State("Dead"):
                pass
        if self.levels:
            with m.If(turn):
                m.d.sync += [word.eq(total), run.eq(total), left.eq(transfer.run)]
                m.d.sync += [left1.eq(left1 - 1), group_ends.eq(left1 == 1)]
                with m.If(group_ends):
                    m.d.sync += [left1.eq(transfer.count1), group_ends.eq(transfer.count1 == 0)]
                    m.d.sync += [group.eq(total), left2.eq(left2 - 1), last_group.eq(left2 == 1)]
        return m

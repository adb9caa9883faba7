"""Performance counters: many wide counters for the price of one."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

__all__ = ["CounterBank"]


class CounterBank(wiring.Component):
    """Counts every event in a cell of 32 bits, or in two cells (low, high) of 64 for the first `long` events.

    Each event has a small counter of its own, just wide enough for one sweep; a sweep visits one cell per cycle
    and moves the small count into a distributed RAM. Nothing stalls and no event is lost. What ``value`` shows
    for ``slot`` contains every event of earlier cycles; a cell is shown every ``sweep`` cycles.

    Parameters
    ----------
    increments : tuple of int
        Bits of each event; an event adds its value in every cycle.
    long : int
        How many of the first events have two cells.

    Members
    -------
    ``events``: a struct ``e0``, ``e1``...; ``clear``: all counts are zero from the next
    cycle on.
    ``slot``, ``value``: the cell shown and its count.
    """

    def __init__(self, *, increments, long=0):
        self.increments = tuple(increments)
        self.cells = []  # event of each cell; None: upper half of the cell before
        for number in range(len(self.increments)):
            self.cells += [number, None] if number < long else [number]
        self.sweep = 1 << ceil_log2(len(self.cells))
        super().__init__({
            "events": In(data.StructLayout({f"e{n}": bits for n, bits in enumerate(self.increments)})),
            "clear": In(1),
            "slot": Out(range(self.sweep)),
            "value": Out(32),
        })

    def elaborate(self, _platform):
        m = Module()
        m.submodules.ram = ram = Memory(shape=32, depth=self.sweep, init=[])
        read, write = ram.read_port(domain="comb"), ram.write_port()

        visit = Signal(range(self.sweep), init=1 % self.sweep)  # one cycle ahead of `slot`
        m.d.sync += [visit.eq(visit + 1), self.slot.eq(visit)]

        added, event = self._small_counts(m, visit)
        addend, carry_in, upper = Signal(len(added)), Signal(), Signal()
        carry = Signal()
        stale = Signal(range(self.sweep + 1), init=self.sweep)  # visits until no old count is left
        total = Signal(34)
        base = Mux(stale.any(), 0, read.data)
        m.d.sync += [
            addend.eq(added),
            carry_in.eq(event),
            upper.eq(Array(Const(cell is None, 1) for cell in self._padded())[visit]),
            carry.eq(total[33]),
        ]
        with m.If(stale.any()):
            m.d.sync += stale.eq(stale - 1)
        with m.If(self.clear):
            m.d.sync += [addend.eq(0), carry_in.eq(0), carry.eq(0), stale.eq(self.sweep)]
        m.d.comb += [
            read.addr.eq(self.slot),
            # The lowest position makes one adder of three operands.
            total.eq(Cat(Const(1, 1), base) + Cat(Mux(upper, carry, carry_in), addend)),
            self.value.eq(total[1:33]),
            write.addr.eq(self.slot),
            write.data.eq(self.value),
            write.en.eq(1),
        ]
        return m

    def _padded(self):
        return [*self.cells, *([len(self.increments)] * (self.sweep - len(self.cells)))]

    def _small_counts(self, m, visit):
        """(what the visited cell gets, plus a single event of this very cycle)"""
        counts, events = [], []
        for number, bits in enumerate(self.increments):
            event = self.events[f"e{number}"]
            most = (self.sweep - 1) * ((1 << bits) - 1)  # between two visits
            count = Signal(range(most + 1), name=f"count_{number}")
            with m.If(self.clear | (visit == self.cells.index(number))):
                m.d.sync += count.eq(0)
            with m.Elif(event.any()):
                m.d.sync += count.eq(count + event)
            counts.append(count if bits == 1 else count + event)
            events.append(event if bits == 1 else Const(0, 1))
        none = len(counts)
        order = [none if cell is None else cell for cell in self._padded()]
        counts.append(Const(0, 1))
        events.append(Const(0, 1))
        added = Signal(max(len(count) for count in counts))
        m.d.comb += added.eq(Array(counts[cell] for cell in order)[visit])
        return added, Array(events[cell] for cell in order)[visit]

"""Memory accesses of the bridge: bytes to and from words."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.axi.signature import AXI4
from hw.spec.link import CHECKSUM_LIMIT, Status

__all__ = ["MemoryPort"]

_TRANSFER = data.StructLayout({"write": 1, "address": 32, "count": range(CHECKSUM_LIMIT + 1)})


class MemoryPort(wiring.Component):
    """Reads or writes `count` bytes from any byte address on, a word at a time.

    While a word's bytes are delivered the next one is read; never one beyond the transfer's last.

    The first bus error, or access not answered in time, decides ``status``; after a TIMEOUT the rest is not tried: what
    is still to be written is taken and dropped, what is still to be read is anything. Nothing is begun until the bus
    has answered; that late answer is dropped.

    Parameters
    ----------
    word_bits : int
    bus_cycles : int
        A power of two.

    Members
    -------
    start : In(stream(_TRANSFER))
        ``count`` is not zero.
    i : In(stream(8)), o : Out(stream(8))
        The bytes.
    abort : In(1)
        Ends a transfer that waits for bytes to come or to go: at once or, if a word has been asked for ahead, when it
        has been answered or its time is up.
    busy : Out(1)
        A transfer is not over.
    status : Out(4)
        OK, BUS or TIMEOUT, of the transfer so far; the word asked for ahead counts.
    bus : Out(AXI4)
    """

    def __init__(self, *, word_bits, bus_cycles):
        self.word_bits = word_bits
        self.timer_bits = exact_log2(bus_cycles)
        super().__init__({
            "start": In(stream.Signature(_TRANSFER)),
            "i": In(stream.Signature(8)),
            "o": Out(stream.Signature(8)),
            "abort": In(1),
            "busy": Out(1),
            "status": Out(4),
            "bus": Out(AXI4(word_bits)),
        })

    def elaborate(self, _platform):
        m = Module()
        reads, writes = self.bus.read, self.bus.write
        lanes = self.word_bits // 8
        bits = exact_log2(lanes) + 1
        write = Signal(reset_less=True)
        word = Signal(32 - exact_log2(lanes), reset_less=True)
        lane = Signal(range(lanes), reset_less=True)
        left = Signal.like(self.start.p.count, reset_less=True)
        content, found, ahead = (
            Signal(self.word_bits, name=name, reset_less=True) for name in ("content", "found", "ahead")
        )
        strobe = Signal(lanes)
        status = Signal(Status, reset_less=True)
        occupied = Signal()  # the bus owes an answer
        timer = Signal(self.timer_bits + 1)
        asked = {name: Signal(name=f"asked_{name}") for name in ("aw", "w", "ar")}
        answered, error, moved, ask = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            self.busy.eq(1),
            self.status.eq(status),
            self.o.p.eq(found.word_select(lane, 8)),
            reads.ar.p.address.eq(word << exact_log2(lanes)),
            writes.aw.p.address.eq(word << exact_log2(lanes)),
            writes.w.p.data.eq(content),
            writes.w.p.strobe.eq(strobe),
            writes.w.p.last.eq(1),
            reads.ar.valid.eq(asked["ar"]),
            writes.aw.valid.eq(asked["aw"]),
            writes.w.valid.eq(asked["w"]),
            reads.r.ready.eq(1),
            writes.b.ready.eq(1),
            answered.eq(reads.r.valid | writes.b.valid),
            error.eq(Mux(write, writes.b.p.error, reads.r.p.error)),
        ]
        for name, port in (("aw", writes.aw), ("w", writes.w), ("ar", reads.ar)):
            with m.If(port.ready):
                m.d.sync += asked[name].eq(0)
        m.d.sync += timer.eq(timer + 1)
        dead = status == Status.TIMEOUT
        with m.If(answered):
            m.d.sync += [occupied.eq(0), ahead.eq(reads.r.p.data)]
            with m.If(error & (status == Status.OK)):
                m.d.sync += status.eq(Status.BUS)
        with m.Elif(occupied & timer[-1]):
            m.d.sync += status.eq(Status.TIMEOUT)
        with m.If(moved):
            m.d.sync += [lane.eq(lane + 1), left.eq(left - 1)]
        with m.If(ask):
            m.d.sync += [occupied.eq(1), timer.eq(0), asked["ar"].eq(~write)]
            m.d.sync += [asked["aw"].eq(write), asked["w"].eq(write)]
        word_ends = (left == 1) | (lane == lanes - 1)
        over = ~occupied | dead  # the bus has answered, or does not any more

        with m.FSM():
            with m.State("Idle"):
                m.d.comb += [self.start.ready.eq(over), self.busy.eq(~over)]
                with m.If(self.start.valid & over):
                    m.d.sync += [
                        lane.eq(self.start.p.address),
                        left.eq(self.start.p.count),
                        write.eq(self.start.p.write),
                        status.eq(Mux(occupied, Status.TIMEOUT, Status.OK)),
                    ]
                    with m.If(~occupied):  # what is on the bus has to stay as it is
                        m.d.sync += [word.eq(self.start.p.address >> exact_log2(lanes)), strobe.eq(0)]
                    m.next = "Read"
                    with m.If(self.start.p.write):
                        m.next = "Collect"
            with m.State("Collect"):
                m.d.comb += [self.i.ready.eq(1), moved.eq(self.i.valid)]
                with m.If(self.abort):
                    m.next = "Idle"
                with m.Elif(self.i.valid):
                    with m.If(~dead):
                        m.d.sync += [content.word_select(lane, 8).eq(self.i.p), strobe.bit_select(lane, 1).eq(1)]
                    with m.If(word_ends & ~dead):
                        m.d.comb += ask.eq(1)
                        m.next = "Write"
                    with m.Elif(left == 1):
                        m.next = "Idle"
            with m.State("Write"):
                with m.If(~occupied):
                    m.d.sync += [word.eq(word + 1), strobe.eq(0)]
                with m.If(over):
                    m.next = "Collect"
                    with m.If(left == 0):
                        m.next = "Idle"
            with m.State("Read"):
                m.d.comb += ask.eq(~dead)
                m.next = "Take"
            with m.State("Take"):
                m.d.sync += found.eq(ahead)
                with m.If(over):
                    m.next = "Deliver"
                    with m.If(~dead & (left[bits:].any() | (left[:bits] + lane > lanes))):  # not the last word
                        m.d.comb += ask.eq(1)
                        m.d.sync += word.eq(word + 1)
            with m.State("Deliver"):
                m.d.comb += [self.o.valid.eq(1), moved.eq(self.o.ready)]
                with m.If(self.abort | (self.o.ready & (left == 1))):
                    m.next = "Idle"
                with m.Elif(self.o.ready & word_ends & ~dead):
                    m.next = "Take"
        return m

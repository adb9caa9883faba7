"""Transposed results: bytes of successive tokens lie next to one another, so a few of them become one element."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.data import StructLayout
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.matmul.drain import item_layout
from hw.spec.isa import TOGETHER

__all__ = ["Gatherer", "gathered_layout"]


def gathered_layout(*, lanes):
    """An item whose elements may be bytes of `TOGETHER` tokens. ``bytes``: those of elements of that size to write."""
    return StructLayout({**item_layout(lanes=lanes).members, "bytes": TOGETHER})


class Gatherer(wiring.Component):
    """Items as they are, or with ``transpose`` those of up to `TOGETHER` tokens in one.

    Outputs of such an item are aligned elements: byte k is of the token that belongs there, if there is one. The items
    of all but the last of these tokens are kept, in LUT RAMs, an item per cycle; with the last one's the elements
    leave, in the cycle in which it is offered. A writer that takes an element per cycle so takes
    (`TOGETHER` - 1) / `lanes` + 1 cycles for that many bytes.

    Parameters
    ----------
    lanes, groups: outputs of an item, items of a token

    Members
    -------
    ``i``: an instruction's operands: ``first`` is the byte of token 0 in its element; taken when the former one's last
    item has left. ``items``: from the drain. ``o``: to the writer.
    """

    def __init__(self, *, lanes, groups):
        self.lanes, self.groups = lanes, groups
        super().__init__({
            "i": In(stream.Signature(StructLayout({"transpose": 1, "first": range(TOGETHER)}))),
            "items": In(stream.Signature(item_layout(lanes=lanes))),
            "o": Out(stream.Signature(gathered_layout(lanes=lanes))),
        })

    def elaborate(self, _platform):
        m = Module()
        items, o = self.items.p, self.o.p
        active, transpose = Signal(), Signal(reset_less=True)
        first = Signal(range(TOGETHER), reset_less=True)  # byte of the tile's first token,
        start, byte = Signal.like(first), Signal.like(first)  # of the element's, of the current one
        group = Signal(range(self.groups))
        last, keeps, taken = Signal(), Signal(), Signal()
        m.d.comb += [
            last.eq(items.last_token | byte.all()),
            keeps.eq(transpose & ~last),
            self.i.ready.eq(~active),
            self.o.valid.eq(self.items.valid & active & ~keeps),
            self.items.ready.eq(active & (keeps | self.o.ready)),
            taken.eq(self.items.valid & self.items.ready),
        ]
        with m.If(taken):
            m.d.sync += group.eq(Mux(items.token_end, 0, group + 1))
            with m.If(items.token_end):
                m.d.sync += byte.eq(Mux(items.last_token, first, byte + 1))
                with m.If(last):
                    m.d.sync += start.eq(Mux(items.last_token, first, 0))
            with m.If(items.end):
                m.d.sync += active.eq(0)
        with m.If(self.i.valid & ~active):
            m.d.sync += [active.eq(1), transpose.eq(self.i.p.transpose)]
            m.d.sync += [register.eq(self.i.p.first) for register in (first, start, byte)]

        m.d.comb += [o[name].eq(items[name]) for name in ("keep", "token_end", "last_token", "end")]
        m.d.comb += o["values"].eq(items["values"])
        own = Cat(items["values"][lane][:8] for lane in range(self.lanes))
        for k in range(TOGETHER):
            m.d.comb += o.bytes[k].eq(~transpose | ((k >= start) & (k <= byte)))
            now = own
            if k < TOGETHER - 1:  # what is the last of an element is not kept
                kept = self._kept(m, k, own, group, self.items.valid & keeps & (byte == k))
                now = Mux(byte == k, own, kept)
            with m.If(transpose):
                for lane in range(self.lanes):
                    m.d.comb += o["values"][lane][8 * k : 8 * k + 8].eq(now.word_select(lane, 8))
        return m

    def _kept(self, m, k, own, group, write_enable):
        """The group's bytes of the token that is byte k."""
        m.submodules[f"byte_{k}"] = memory = Memory(shape=8 * self.lanes, depth=self.groups, init=[])
        write, read = memory.write_port(), memory.read_port(domain="comb")
        m.d.comb += [
            write.addr.eq(group),
            write.data.eq(own),
            write.en.eq(write_enable),
            read.addr.eq(group),
        ]
        return read.data

"""Transposed results: bytes of successive tokens lie next to one another, so a few of them become one element."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.matmul.drain import item_layout
from hw.spec.isa import TOGETHER

__all__ = ["Gatherer", "gathered_layout"]

_BANKS = 2  # one fills while the other is written


def gathered_layout(*, lanes):
    """An item whose elements may be bytes of `TOGETHER` tokens. ``bytes``: those of elements of that size to write."""
    return data.StructLayout({**item_layout(lanes=lanes).members, "bytes": TOGETHER})


class Gatherer(wiring.Component):
    """Items as they are, or with ``transpose`` those of up to `TOGETHER` tokens in one.

    Outputs of such an item are aligned elements: byte k is of the token that belongs there, if there is one. Items of
    these tokens are kept in LUT RAMs, one of a cycle; the elements leave from the cycle on after the last of them was
    taken, while those of the next tokens fill the other bank. So a drain of `lanes` outputs per cycle never waits for a
    writer that takes an element per cycle, unless it has more than `TOGETHER` lanes or an element has few tokens.

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
        item = item_layout(lanes=lanes)
        self._side = data.StructLayout({name: item[name].shape for name in item.members if name != "values"})
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({"transpose": 1, "first": range(TOGETHER)}))),
            "items": In(stream.Signature(item)),
            "o": Out(stream.Signature(gathered_layout(lanes=lanes))),
        })

    def elaborate(self, _platform):
        m = Module()
        items, o = self.items.p, self.o.p
        passes, gathers = Signal(), Signal()  # items of this instruction come, as they are or to be gathered
        some, both = Signal(), Signal()  # banks wait to be written
        takes, fills, gives, empties = Signal(), Signal(), Signal(), Signal()
        kept, last = self._banks(m, takes, fills, gives, empties)
        m.d.comb += [
            self.i.ready.eq(~(passes | gathers | some)),
            self.items.ready.eq((gathers & ~both) | (passes & self.o.ready)),
            self.o.valid.eq(some | (passes & self.items.valid)),
            takes.eq(self.items.valid & gathers & ~both),
            fills.eq(takes & last),
            gives.eq(self.o.ready & some),
            empties.eq(gives & kept.token_end),
        ]
        m.d.sync += [some.eq(fills | both | (some & ~empties)), both.eq((both | (some & fills)) & ~empties)]
        with m.If(self.items.valid & self.items.ready & items.end):
            m.d.sync += [passes.eq(0), gathers.eq(0)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [passes.eq(~self.i.p.transpose), gathers.eq(self.i.p.transpose)]
        with m.If(some):
            m.d.comb += o.eq(kept)
        with m.Else():
            m.d.comb += [*(o[name].eq(items[name]) for name in items.shape().members), o.bytes.eq(-1)]
        return m

    def _banks(self, m, takes, fills, gives, empties):
        """The item that is to be written next, and whether the one that is offered completes its bank."""
        items = self.items.p
        first = Signal(range(TOGETHER), reset_less=True)  # byte of a tile's first token,
        byte, final = Signal.like(first), Signal.like(first)  # of the current one, of a tile's last token
        start = Signal.like(first)  # of the element that is given
        group, into = Signal(range(self.groups)), Signal(range(_BANKS))  # of what is taken, of what is given
        group_out, out = Signal.like(group), Signal.like(into)
        kept, side = Signal(self.o.p.shape()), Signal(self._side)
        with m.If(takes):
            m.d.sync += group.eq(Mux(items.token_end, 0, group + 1))
            with m.If(items.token_end):
                m.d.sync += byte.eq(Mux(items.last_token, first, byte + 1))
            with m.If(items.last_token):
                m.d.sync += final.eq(byte)
        with m.If(gives):
            m.d.sync += group_out.eq(Mux(kept.token_end, 0, group_out + 1))
        with m.If(empties):
            m.d.sync += start.eq(Mux(kept.last_token, first, 0))
        m.d.sync += [into.eq(into ^ fills), out.eq(out ^ empties)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [register.eq(self.i.p.first) for register in (first, byte, start)]

        m.d.comb += [side[name].eq(items[name]) for name in self._side.members]
        own = Cat(items["values"][lane][:8] for lane in range(self.lanes))
        places = Cat(group, into), Cat(group_out, out)
        there = data.View(self._side, self._memory(m, "side", side, takes, *places))
        m.d.comb += [kept[name].eq(there[name]) for name in self._side.members]
        for k in range(TOGETHER):
            bytes_ = self._memory(m, f"byte_{k}", own, takes & (byte == k), *places)
            for lane in range(self.lanes):
                m.d.comb += kept["values"][lane][8 * k : 8 * k + 8].eq(bytes_.word_select(lane, 8))
            m.d.comb += kept.bytes[k].eq((k >= start) & (~kept.last_token | (k <= final)))
        return kept, items.token_end & (items.last_token | byte.all())

    def _memory(self, m, name, value, enable, place, place_out):
        """Of the last tokens' items one thing each."""
        value = Value.cast(value)
        m.submodules[name] = memory = Memory(shape=len(value), depth=_BANKS << ceil_log2(self.groups), init=[])
        write, read = memory.write_port(), memory.read_port(domain="comb")
        m.d.comb += [write.addr.eq(place), write.data.eq(value), write.en.eq(enable), read.addr.eq(place_out)]
        return read.data

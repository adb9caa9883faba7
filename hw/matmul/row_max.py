"""Keeps the largest result of every token, bank by bank."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.units.ports import lanes_of

__all__ = ["RowMax", "maximum_layout"]


def maximum_layout(*, tokens, banks, lanes):
    """`lanes` results of a token, of which those to ``keep`` count; ``start`` and ``end`` of its share of a tile;
    ``begin``: of the first tile."""
    return data.StructLayout({
        "valid": 1, "values": lanes_of(lanes, signed(8)), "keep": lanes, "start": 1, "end": 1, "begin": 1,
        "bank": range(banks), "token": range(tokens),
    })  # fmt: skip


class RowMax(wiring.Component):
    """maximum[bank][token] = largest value of the token in all tiles since the one that carried ``begin``.

    Takes `lanes` values per cycle and never stalls. The memory that is read from outside is written at every ``end``,
    two cycles later; the running maxima of one instruction are kept apart.

    Parameters
    ----------
    tokens, banks, lanes: entries of a bank, banks, values per cycle

    Members
    -------
    ``i``: values. ``address``: bank * tokens + token. ``data``: that entry, `latency` cycles later.
    """

    latency = 1

    def __init__(self, *, tokens, banks, lanes):
        self.tokens, self.banks, self.lanes = tokens, banks, lanes
        super().__init__({
            "i": In(maximum_layout(tokens=tokens, banks=banks, lanes=lanes)),
            "address": In(range(banks * tokens)),
            "data": Out(signed(8)),
        })

    def elaborate(self, _platform):
        m = Module()
        m.submodules.running = running = Memory(
            shape=signed(8), depth=self.tokens, init=[], attrs={"ram_style": "distributed"}
        )  # a block RAM's output is late for a comparison, where its register is taken for the one behind it
        m.submodules.banks = banks = Memory(shape=signed(8), depth=self.tokens * self.banks, init=[])
        keep, former = running.write_port(), running.read_port(domain="comb")
        write, read = banks.write_port(), banks.read_port()

        # First cycle: the largest of the lanes, of which lane 0 always counts, and the token's maximum so far.
        place = Signal(self.i.shape(), reset_less=True)
        best, before = Signal(signed(8), reset_less=True), Signal(signed(8), reset_less=True)
        valid = Signal()
        largest = self.i["values"][0]
        for lane in range(1, self.lanes):
            value = self.i["values"][lane]
            largest = Mux(self.i.keep[lane] & (value > largest), value, largest)
        # A tile of one token asks for what is being written.
        current, result = Signal(signed(8), reset_less=True), Signal(signed(8))
        again = keep.en & (place.token == self.i.token)
        m.d.comb += former.addr.eq(self.i.token)
        m.d.sync += [
            valid.eq(self.i.valid),
            place.eq(self.i),
            best.eq(largest),
            before.eq(Mux(self.i.begin, -128, Mux(again, result, former.data))),
        ]

        # Second cycle: the larger of both, or of this tile's former groups.
        base = Signal(signed(8))
        m.d.comb += [
            base.eq(Mux(place.start, before, current)),
            result.eq(Mux(best > base, best, base)),
            keep.addr.eq(place.token),
            keep.data.eq(result),
            keep.en.eq(valid & place.end),
            write.addr.eq(Cat(place.token, place.bank)),
            write.data.eq(result),
            write.en.eq(valid & place.end),
            read.addr.eq(self.address),
            read.en.eq(1),
            self.data.eq(read.data),
        ]
        with m.If(valid):
            m.d.sync += current.eq(result)
        return m

"""Channel parameters of I-LayerNorm, a group of channels ahead of their use."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.spec.memory import BIAS_BITS, MULT_BITS
from hw.units.carry_chain import count_down
from hw.units.ports import lanes_of

__all__ = ["DYADIC", "NormTable"]

DYADIC = data.StructLayout({"mult": signed(MULT_BITS), "shift": unsigned(6)})


class NormTable(wiring.Component):
    """Two buffers of the parameters of one group (the channels of one source word), by turns loaded and used.

    Entries come as `hw.spec.memory.norm_params` lays them out, channel after channel. A group's biases may be
    read while ``filled`` has a one at the group's parity, until ``used``; its multipliers until ``release``, which
    comes later. Rate: one word per cycle is taken while the buffer whose turn it is has been released.
    Reading is combinational.

    Parameters
    ----------
    rows : int
        Bytes of a word.
    lanes : int
        Channels read at a time.

    Members
    -------
    start : In(1)
        Begins a table.
    wide, length_m1 : In
        A group is rows channels, or rows/2 with ``wide``; channels of the table minus one.
    i : In(stream of words)
    filled : Out(2)
    bias_index, factor_index : In
        Where to read: position in beats, with the parity of the group on top.
    bias, factors : Out
        `lanes` biases, `lanes` (mult, shift).
    used, release : In(2)
        One bit per parity.
    """

    def __init__(self, *, rows, lanes):
        self.rows = rows
        self.lanes = lanes
        self.depth = 2 * rows // lanes
        index = exact_log2(self.depth)
        super().__init__({
            "start": In(1),
            "wide": In(1),
            "length_m1": In(12),
            "i": In(stream.Signature(8 * rows)),
            "filled": Out(2),
            "bias_index": In(index),
            "bias": Out(lanes_of(lanes, signed(BIAS_BITS))),
            "factor_index": In(index),
            "factors": Out(lanes_of(lanes, DYADIC)),
            "used": In(2),
            "release": In(2),
        })

    def elaborate(self, _platform):
        m = Module()
        rows, lanes = self.rows, self.lanes
        lane_bits = exact_log2(lanes)
        channel = Signal(exact_log2(rows))  # in its group
        left = Signal(12)  # channels still to come, minus one
        parity = Signal()
        free = Signal(2, init=3)
        entry_end, group_end = Signal(), Signal()
        accept = Signal()
        entry = self._entry(m, accept, entry_end)

        next_channel = Signal(len(channel) + 1)
        m.d.comb += [
            self.i.ready.eq(free.bit_select(parity, 1)),
            accept.eq(self.i.valid & self.i.ready),
            next_channel.eq(channel + 1),
            group_end.eq(entry_end & ((left == 0) | Mux(self.wide, next_channel[-2], next_channel[-1]))),
        ]
        with m.If(entry_end):
            m.d.sync += [
                channel.eq(Mux(group_end, 0, next_channel)),
                parity.eq(parity ^ group_end),
            ]
        done = Signal(2)
        m.d.comb += done.eq(Cat(group_end & ~parity, group_end & parity))
        m.d.sync += [
            free.eq((free & ~done) | self.release),
            self.filled.eq((self.filled & ~self.used) | done),
        ]
        with m.If(self.start):
            m.d.sync += [Cat(channel, parity).eq(0), free.eq(3), self.filled.eq(0)]
        with m.If(self.start | entry_end):
            m.d.sync += left.eq(count_down(left, load=self.start, value=self.length_m1))

        at = Cat((channel >> lane_bits)[: exact_log2(self.depth) - 1], parity)
        for lane in range(lanes):
            here = entry_end & (channel[:lane_bits] == lane)
            bias = Cat(entry[:BIAS_BITS]).as_signed()
            factor = Cat(entry[40 : 40 + MULT_BITS], entry[80:86])
            for name, value, index, port in (
                ("bias", bias, self.bias_index, self.bias[lane]),
                ("factor", factor, self.factor_index, self.factors[lane].as_value()),
            ):
                table = memory.Memory(shape=len(value), depth=self.depth, init=[])
                m.submodules[f"{name}{lane}"] = table
                write, read = table.write_port(), table.read_port(domain="comb")
                m.d.comb += [write.en.eq(here), write.addr.eq(at), write.data.eq(value)]
                m.d.comb += [read.addr.eq(index), port.eq(read.data)]
        return m

    def _entry(self, m, accept, entry_end):
        """The 128 bits of an entry, complete in the cycle of ``entry_end``."""
        if self.rows >= 16:
            m.d.comb += entry_end.eq(accept)
            return self.i.payload[:128]
        first = Signal(64, reset_less=True)
        second = Signal()
        m.d.comb += entry_end.eq(accept & second)
        with m.If(accept):
            m.d.sync += [first.eq(self.i.payload), second.eq(~second)]
        with m.If(self.start):
            m.d.sync += second.eq(0)
        return Cat(first, self.i.payload)

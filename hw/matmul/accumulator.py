"""Adds up the column sums of the passes, per token and column."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.matmul.streamer import beat_layout
from hw.units.memory_attributes import NEVER_TOGETHER
from hw.units.ports import lanes_of, stationary_members

__all__ = ["Accumulator"]

ACC_BITS = 32


class Accumulator(wiring.Component):
    """acc[token][c] = (0 if first else acc[token][c]) + (sums[c] << 8 if high else sums[c]), modulo 2^32.

    One beat per cycle, nothing stalls. The result of a ``last`` beat is delivered instead of stored, ``latency``
    cycles after its sums. A token's next beat may follow `distance` cycles after the former one, not earlier.

    Parameters
    ----------
    cols, sum_bits, tokens: shape of the sums and number of accumulator rows
    array_latency: cycles from ``beat`` to ``sums``, at least 2

    Members
    -------
    ``beat``: with the token, as it enters the array. ``sums``: of the array.
    ``o``: complements (-1 - acc) of the completed sums of a token.
    """

    latency = 1
    distance = 4  # read address, memory, register, sum: the write and the read after it in consecutive cycles

    def __init__(self, *, cols, sum_bits, tokens, array_latency):
        if array_latency < 2:
            raise ValueError(f"array_latency must be at least 2, not {array_latency}")
        self.cols, self.tokens, self.array_latency = cols, tokens, array_latency
        super().__init__({
            "beat": In(beat_layout(tokens=tokens)),
            "sums": stationary_members(rows=1, cols=cols, sum_bits=sum_bits)["sums"].flip(),
            "o": Out(data.StructLayout({"valid": 1, "data": lanes_of(cols, signed(ACC_BITS))})),
        })

    def elaborate(self, _platform):
        m = Module()
        m.submodules.memory = memory = Memory(
            shape=ACC_BITS * self.cols, depth=self.tokens, init=[], attrs={"ram_style": "block", **NEVER_TOGETHER}
        )
        read, write = memory.read_port(), memory.write_port()
        beats = [self.beat]  # beats[k]: of the token that entered k cycles ago
        for k in range(self.array_latency):
            beats.append(Signal(self.beat.shape(), name=f"beat_{k + 1}", reset_less=True))
            m.d.sync += beats[-1].eq(beats[-2])
        early, middle, now = beats[-3:]

        old = Signal(lanes_of(self.cols, signed(ACC_BITS)), reset_less=True)
        token = Signal.like(now.token, reset_less=True)
        new = Signal(lanes_of(self.cols, signed(ACC_BITS)), reset_less=True)
        store, valid = Signal(), Signal()
        m.d.comb += [
            read.addr.eq(early.token),
            read.en.eq(1),
            write.addr.eq(token),
            write.data.eq(new),
            write.en.eq(store),
        ]
        m.d.sync += [
            old.eq(Mux(middle.first, -1, read.data)),
            token.eq(now.token),
            store.eq(self.sums.valid & ~now.last),
            valid.eq(self.sums.valid & now.last),
        ]
        m.d.comb += [self.o.valid.eq(valid), self.o.data.eq(new)]
        # Complemented: ~acc - x == ~(acc + x), and of a difference's operands only the second pays for its multiplexer.
        for total, former, value in zip(new, old, self.sums.data, strict=True):
            m.d.sync += total.eq(former - Mux(now.high, value << 8, value))
        return m

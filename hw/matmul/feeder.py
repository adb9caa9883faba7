"""Takes the weight stream apart: parameters into the drain's ring, weights into the array's next tile."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.units.carry_chain import count_down, plus, up_down
from hw.units.ports import stationary_members

__all__ = ["Feeder", "parameter_layout"]

_ENTRY_BYTES = 16  # one channel's parameters in the stream: bias 0-3, mult 4-7, shift 8


def parameter_layout(*, cols, slots):
    """One channel's parameters on their way to column `col` of ring slot `slot`."""
    return data.StructLayout({
        "valid": 1, "slot": range(slots), "col": range(cols), "bias": unsigned(32), "mult": 32, "shift": 6,
    })  # fmt: skip


class Feeder(wiring.Component):
    """Per tile of `cols` outputs: `cols` parameter entries (with ``per_channel``), then per pass `cols` weight words.

    One stream word per cycle. The first weights of a tile wait behind ``load``, and all words behind them, while the
    array still holds an unused tile: they are there in the cycle after that is swapped in. Everything stops while the
    ring has no free slot. Without ``per_channel`` the slot gets bias 0 and the immediate ``mult`` and ``shift``, while
    the first weights pass. Instructions follow each other without a gap. A word is at ``load`` or ``params``
    ``latency`` cycles after it was taken.

    Parameters
    ----------
    rows, cols: array shape; a stream word is `rows` bytes
    slots: tiles whose parameters the ring holds

    Members
    -------
    ``i``: an instruction's operands, counts minus one.
    ``words``: the weight stream.
    ``load``, ``params``: to the array and to the ring.
    ``loaded``: the array holds a whole unused tile. ``swap``: it is taken now.
    ``release``: the drain is done with its oldest slot.
    """

    latency = 1

    def __init__(self, *, rows, cols, slots):
        self.rows, self.cols, self.slots = rows, cols, slots
        operands = data.StructLayout({"passes": 9, "outputs": 13, "per_channel": 1, "mult": 32, "shift": 6})
        super().__init__({
            "i": In(stream.Signature(operands)),
            "words": In(stream.Signature(unsigned(8 * rows))),
            "load": stationary_members(rows=rows, cols=cols, sum_bits=1)["load"].flip(),
            "params": Out(parameter_layout(cols=cols, slots=slots)),
            "loaded": Out(1),
            "swap": In(1),
            "release": In(1),
        })

    def elaborate(self, _platform):
        m = Module()
        active, weights, first, second = Signal(), Signal(), Signal(), Signal()
        col = Signal(range(self.cols))
        passes = Signal(9, reset_less=True)
        remaining = Signal(13, reset_less=True)
        last_col, last_pass, last_tile = Signal(), Signal(reset_less=True), Signal(reset_less=True)
        operands = Signal(self.i.payload.shape(), reset_less=True)
        split = self.rows < _ENTRY_BYTES  # an entry takes two words

        take, finish, accept = Signal(), Signal(), Signal()
        column_end, entry_end, phase_end, tile_end = Signal(), Signal(), Signal(), Signal()
        used = Signal(range(self.slots + 1))
        free = used != self.slots
        immediate = first & ~operands.per_channel
        wanted = self._load(m, accept, weights, col) & (free | (weights & ~immediate))
        m.d.comb += [
            self.words.ready.eq(active & wanted),
            accept.eq(active & wanted & self.words.valid),
            entry_end.eq(weights | second if split else 1),
            column_end.eq(accept & entry_end),
            phase_end.eq(column_end & last_col),
            tile_end.eq(phase_end & weights & last_pass),
            finish.eq(tile_end & last_tile),
            take.eq(self.i.valid & self.i.ready),
            self.i.ready.eq(~active | finish),
        ]

        with m.If(accept):
            m.d.sync += second.eq(~entry_end)
        with m.If(column_end):
            m.d.sync += [col.eq(Mux(last_col, 0, col + 1)), last_col.eq(col == self.cols - 2)]
        with m.If(phase_end):
            m.d.sync += weights.eq(1)
            with m.If(weights):
                m.d.sync += [last_pass.eq(passes == 1), first.eq(0)]
        with m.If(tile_end):
            m.d.sync += [
                last_pass.eq(operands.passes == 0),
                last_tile.eq(remaining < 2 * self.cols),
                weights.eq(~operands.per_channel),
                first.eq(1),
            ]
        with m.If(finish):
            m.d.sync += active.eq(0)
        with m.If(take):
            m.d.sync += [
                active.eq(1),
                first.eq(1),
                weights.eq(~self.i.p.per_channel),
                operands.eq(self.i.payload),
                last_pass.eq(self.i.p.passes == 0),
                last_tile.eq(self.i.p.outputs < self.cols),
            ]
        fresh = ~active | last_tile  # what is counted next is the next instruction's: known before `finish`
        with m.If((phase_end & weights) | take):
            m.d.sync += passes.eq(
                count_down(passes, load=~active | last_pass, value=Mux(fresh, self.i.p.passes, operands.passes))
            )
        with m.If(tile_end | take):
            m.d.sync += remaining.eq(
                plus(Mux(fresh, 0, Const(-self.cols, 13)), Mux(fresh, self.i.p.outputs, remaining), 0)
            )

        with m.If(phase_end & weights):
            m.d.sync += self.loaded.eq(1)
        with m.Elif(self.swap):
            m.d.sync += self.loaded.eq(0)

        slot = Signal(range(self.slots))
        self._parameters(m, operands, split, accept, column_end & (~weights | immediate), slot, col, weights)
        slot_done = phase_end & (~weights | immediate)
        m.d.sync += used.eq(up_down(used, up=slot_done, down=self.release))
        with m.If(slot_done):
            m.d.sync += slot.eq(Mux(slot == self.slots - 1, 0, slot + 1))
        return m

    def _load(self, m, accept, weights, col):
        """The word to the array; returns whether it leaves, if there is one. A used tile is known a cycle after."""
        valid, moves = Signal(name="load_valid"), Signal(init=1, name="load_moves")
        load_col = Signal.like(self.load.col, reset_less=True)
        load_data = Signal.like(self.words.payload, reset_less=True)
        m.d.comb += [
            self.load.valid.eq(valid & moves),
            self.load.col.eq(load_col),
            self.load.data.eq(load_data),
        ]
        usable = ~self.loaded | self.swap
        with m.If(moves):
            m.d.sync += [
                valid.eq(accept & weights),
                moves.eq(usable | ~(accept & weights & (col == 0))),
                load_col.eq(col),
                load_data.eq(self.words.payload),
            ]
        with m.Else():
            m.d.sync += moves.eq(usable)
        return moves

    def _parameters(self, m, operands, split, accept, valid, slot, col, weights):
        """The entry in the stream, which is whole with its last word, or the immediate one; registered for the ring."""
        word = self.words.payload
        if split:
            former = Signal(8 * self.rows, reset_less=True)
            with m.If(accept):
                m.d.sync += former.eq(word)
            word = Cat(former, word)
        m.d.sync += [
            self.params.valid.eq(valid),
            self.params.slot.eq(slot),
            self.params.col.eq(col),
            self.params.bias.eq(Mux(weights, 0, word[:32])),
            self.params.mult.eq(Mux(weights, operands.mult, word[32:64])),
            self.params.shift.eq(Mux(weights, operands.shift, word[64:70])),
        ]

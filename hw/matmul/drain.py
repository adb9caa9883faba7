"""Completed sums of a token on their way to results: bias, requantization, `lanes` outputs per cycle."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.matmul.feeder import parameter_layout
from hw.matmul.row_max import maximum_layout
from hw.spec.isa import Kind
from hw.units.carry_chain import up_down
from hw.units.credit_queue import CreditQueue
from hw.units.memory_attributes import NEVER_TOGETHER
from hw.units.ports import lanes_of
from hw.units.requantizer import Requantizer

__all__ = ["Drain", "item_layout"]

_ACC_BITS = 32
_OUT_BITS = 16  # the widest requantized kind; int8 is clamped once more
_QUEUE = 32  # items; what one LUT RAM holds, and CreditQueue.depth_behind(the requantizer)


def item_layout(*, lanes):
    """`lanes` results of one token: those to ``keep``, and whether they end its share of the tile, are of the tile's
    last token, end the instruction."""
    return data.StructLayout({
        "values": lanes_of(lanes, signed(_ACC_BITS)), "keep": lanes, "token_end": 1, "last_token": 1, "end": 1,
    })  # fmt: skip


class Drain(wiring.Component):
    """clamp(requantize(acc + bias, mult, shift)) to int8 or int16 (also for two planes), or acc + bias modulo 2^32.

    Keeps up to `tokens` + 1 completed token sums, takes one at a time, `lanes` outputs per cycle and no cycle in
    between, also not between tiles and instructions. Groups of `lanes` outputs beyond the instruction's last are
    skipped. Behind the queue of sums nothing stalls: an output starts when the queue of items has room for it. The
    first one starts ``lead`` cycles after its sums, and is an item ``latency`` cycles after them, an int32 one
    ``raw_latency`` cycles.

    Parameters
    ----------
    cols, tokens, lanes: array tile, most tokens of an instruction, outputs per cycle (divides cols, power of two)
    slots: tiles whose parameters the ring holds
    banks: row-maximum banks

    Members
    -------
    ``i``: an instruction's operands, counts minus one.
    ``sums``: complements of completed sums. ``reserve``: one is on its way; allowed while ``room``.
    ``params``: written to the ring. ``release``: its oldest slot is free again.
    ``same``: what takes the items is at the same instruction; int32 results, which overtake others, wait for it.
    ``o``: items. ``maximum``: int8 results for the row maximum.
    """

    lead = 2  # the count of sums, their memories' output
    raw_latency = lead + 3  # sums and parameters, the item, the count of items
    latency = raw_latency + Requantizer.latency

    def __init__(self, *, cols, tokens, lanes, slots, banks):
        self.cols, self.tokens, self.lanes, self.slots = cols, tokens, lanes, slots
        self.groups = cols // lanes
        operands = data.StructLayout({"rows": 8, "outputs": 13, "kind": 2, "track_max": 1, "row_max": range(banks)})
        self._maximum = maximum_layout(tokens=tokens, banks=banks, lanes=lanes)
        self._item = item_layout(lanes=lanes)
        super().__init__({
            "i": In(stream.Signature(operands)),
            "sums": In(data.StructLayout({"valid": 1, "data": lanes_of(cols, signed(_ACC_BITS))})),
            "reserve": In(1),
            "room": Out(1),
            "params": In(parameter_layout(cols=cols, slots=slots)),
            "release": Out(1),
            "same": In(1),
            "o": Out(stream.Signature(self._item)),
            "maximum": Out(self._maximum),
        })

    def elaborate(self, _platform):
        m = Module()
        fire, token_end = Signal(), Signal()
        group = Signal(range(self.groups))
        slot = Signal(range(self.slots))
        held, chosen = self._sums(m, fire & token_end, group)
        m.submodules.items = queue = CreditQueue(shape=self._item, depth=_QUEUE)
        tag, may, kind = self._sequence(m, fire, token_end, group, slot)
        m.d.comb += [fire.eq(may & held & queue.room), queue.begin.eq(fire)]
        bias, factors = self._parameters(m, fire, slot, group)

        # One cycle after `fire`: sums and parameters are registered, the tag with them.
        valid, raw = Signal(), Signal()
        tag_1 = Signal(tag.shape(), reset_less=True)
        m.d.sync += [valid.eq(fire & (kind != Kind.INT32)), raw.eq(fire & (kind == Kind.INT32)), tag_1.eq(tag)]
        totals = [acc + offset for acc, offset in zip(chosen, bias, strict=True)]
        results = []
        for lane in range(self.lanes):
            m.submodules[f"requantizer_{lane}"] = unit = Requantizer(
                value_bits=34, mult_bits=32, shift_bits=6, out_bits=_OUT_BITS, mult_signed=False,
                tag=tag.shape() if lane == 0 else None,
            )  # fmt: skip
            m.d.comb += [
                unit.i.valid.eq(valid),
                unit.i.p.value.eq(totals[lane]),
                unit.i.p.mult.eq(factors[lane].mult),
                unit.i.p.shift.eq(factors[lane].shift),
                unit.o.ready.eq(1),
            ]
            if lane == 0:
                m.d.comb += unit.i.p.tag.eq(tag_1)
            results.append(unit.o)
        self._collect(m, queue, results, raw, totals, tag_1)
        return m

    def _sums(self, m, done, group):
        """The queue of sums; its oldest stays at the memories' outputs until `done`. Returns (any, selected lanes)."""
        waiting = Signal(range(self.tokens + 1))
        free = Signal(range(self.tokens + 1), init=self.tokens)
        first, last = Signal(range(self.tokens)), Signal(range(self.tokens))
        held, fetch = Signal(), Signal()
        some, room = Signal(), Signal(init=1)  # waiting != 0, free != 0
        m.d.comb += [fetch.eq(some & (~held | done)), self.room.eq(room)]
        m.d.sync += [
            some.eq(self.sums.valid | waiting[1:].any() | (waiting[0] & ~fetch)),
            room.eq(fetch | free[1:].any() | (free[0] & ~self.reserve)),
            waiting.eq(up_down(waiting, up=self.sums.valid, down=fetch)),
            free.eq(up_down(free, up=fetch, down=self.reserve)),
            held.eq(fetch | (held & ~done)),
            last.eq(last + self.sums.valid),
            first.eq(first + fetch),
        ]
        width = _ACC_BITS * self.lanes
        outputs = []
        for k in range(self.groups):
            m.submodules[f"sums_{k}"] = memory = Memory(shape=width, depth=self.tokens, init=[], attrs=NEVER_TOGETHER)
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [
                write.addr.eq(last),
                write.en.eq(self.sums.valid),
                write.data.eq(self.sums.data.as_value().word_select(k, width)),
                read.addr.eq(first),
                read.en.eq(fetch),
            ]
            outputs.append(read.data)
        chosen = Signal(lanes_of(self.lanes, signed(_ACC_BITS)), reset_less=True)
        m.d.sync += chosen.eq(~Array(outputs)[group])
        return held, chosen

    def _sequence(self, m, fire, token_end, group, slot):
        """Which outputs these are. Returns their tag, whether they may start, and the kind."""
        active, begin = Signal(), Signal()
        operands = Signal(self.i.payload.shape(), reset_less=True)
        token = Signal(range(self.tokens))
        last_token = Signal(reset_less=True)
        remaining = Signal(13, reset_less=True)
        tile_end, finish, take, last_tile = Signal(), Signal(), Signal(), Signal(reset_less=True)
        shift = ceil_log2(self.lanes)
        last_group = Signal(range(self.groups), reset_less=True)
        partial = Signal(shift, reset_less=True)  # outputs in the last group, minus one

        def tile(left):
            """Registers of the tile that begins with `left` + 1 outputs to go."""
            last = left < self.cols
            return [
                remaining.eq(left),
                last_tile.eq(last),
                last_group.eq(Mux(last, left >> shift, self.groups - 1)),
                partial.eq(Mux(last, left, self.lanes - 1)),
            ]

        m.d.comb += [
            token_end.eq(group == last_group),
            tile_end.eq(token_end & last_token),
            finish.eq(fire & tile_end & last_tile),
            self.i.ready.eq(~active | finish),
            take.eq(self.i.valid & self.i.ready),
            self.release.eq(fire & tile_end),
        ]
        with m.If(fire):
            m.d.sync += group.eq(Mux(token_end, 0, group + 1))
            with m.If(token_end):
                following = Mux(last_token, 0, token + 1)
                m.d.sync += [token.eq(following), last_token.eq(following == operands.rows)]
            with m.If(tile_end):
                m.d.sync += [
                    begin.eq(0),
                    slot.eq(Mux(slot == self.slots - 1, 0, slot + 1)),
                    *tile((remaining - self.cols)[: len(remaining)]),
                ]
        with m.If(finish):
            m.d.sync += active.eq(0)
        with m.If(take):
            m.d.sync += [active.eq(1), begin.eq(1), operands.eq(self.i.payload), *tile(self.i.p.outputs)]
            m.d.sync += last_token.eq(self.i.p.rows == 0)

        layout = data.StructLayout({
            "keep": self.lanes, "token_end": 1, "last_token": 1, "end": 1, "narrow": 1, "start": 1, "begin": 1,
            "track": 1, "bank": operands.row_max.shape(), "token": token.shape(),
        })  # fmt: skip
        tag = Signal(layout)
        m.d.comb += [
            tag.keep.eq(Cat(~token_end | (lane <= partial) for lane in range(self.lanes)) if shift else 1),
            tag.token_end.eq(token_end),
            tag.last_token.eq(last_token),
            tag.end.eq(finish),
            tag.narrow.eq(operands.kind == Kind.INT8),
            tag.start.eq(group == 0),
            tag.begin.eq(begin),
            tag.track.eq(operands.track_max),
            tag.bank.eq(operands.row_max),
            tag.token.eq(token),
        ]
        return tag, active & (self.same | (operands.kind != Kind.INT32)), operands.kind

    def _parameters(self, m, fire, slot, group):
        """The ring: a memory per lane, its address (slot, group). Returns bias and factors of the lanes, registered."""
        shift = ceil_log2(self.lanes)
        entry = data.StructLayout({"bias": signed(32), "mult": 32, "shift": 6})
        entries = []
        for lane in range(self.lanes):
            m.submodules[f"ring_{lane}"] = memory = Memory(shape=entry, depth=self.slots << len(group), init=[])
            write, read = memory.write_port(), memory.read_port()
            mine = (self.params.col[:shift] == lane) if shift else 1
            m.d.comb += [
                write.addr.eq(Cat((self.params.col >> shift)[: len(group)], self.params.slot)),
                write.en.eq(self.params.valid & mine),
                write.data.bias.eq(self.params.bias),
                write.data.mult.eq(self.params.mult),
                write.data.shift.eq(self.params.shift),
                read.addr.eq(Cat(group, slot)),
                read.en.eq(fire),
            ]
            entries.append(read.data)
        return [entry.bias for entry in entries], entries

    def _collect(self, m, queue, results, raw, totals, tag_1):
        """Clamps to int8, tells the row maximum, queues the items."""
        valid = Signal()
        item, wide = Signal(self._item, reset_less=True), Signal(self._item)
        tag = Signal.like(tag_1)
        m.d.comb += [tag.eq(Mux(raw, tag_1, results[0].p.tag))]
        for lane, result in enumerate(results):
            value, clamped = result.p.value, Signal(signed(_OUT_BITS), name=f"clamped_{lane}")
            outside = tag.narrow & (value[7:] != value[-1].replicate(_OUT_BITS - 7))
            m.d.comb += [
                clamped.eq(Mux(outside, Cat((~value[-1]).replicate(7), value[-1].replicate(_OUT_BITS - 7)), value)),
                wide["values"][lane].eq(Mux(raw, totals[lane], clamped)),
            ]
        m.d.comb += [wide[name].eq(tag[name]) for name in ("keep", "token_end", "last_token", "end")]
        m.d.sync += [item.eq(wide), valid.eq(raw | results[0].valid)]

        tracked = Signal()
        place = Signal(tag.shape(), reset_less=True)
        m.d.sync += [tracked.eq(results[0].valid & tag.track), place.eq(tag)]
        m.d.comb += self.maximum.valid.eq(tracked)
        m.d.comb += [self.maximum[name].eq(place[name]) for name in ("keep", "start", "begin", "bank", "token")]
        m.d.comb += self.maximum.end.eq(place.token_end)
        for lane in range(self.lanes):
            m.d.comb += self.maximum["values"][lane].eq(item["values"][lane][:8])

        m.d.comb += [queue.i.valid.eq(valid), queue.i.payload.eq(item)]
        wiring.connect(m, queue.o, wiring.flipped(self.o))

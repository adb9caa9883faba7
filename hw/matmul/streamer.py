"""Reads token words from the scratchpad, ahead of time, and sends them into the array."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from hw.matmul.address import advance, extend
from hw.spec.timing import Timing
from hw.units.carry_chain import count_down, plus, up_down
from hw.units.ports import INDEX_BITS, SCRATCH_ADDRESS_BITS, ScratchRead, stationary_members

__all__ = ["Streamer", "beat_layout"]


def beat_layout(*, tokens):
    """What the accumulator must know of a beat: overwrite (``first``), shift (``high``), deliver (``last``)."""
    return data.StructLayout({"token": range(tokens), "first": 1, "high": 1, "last": 1})


class Streamer(wiring.Component):
    """For tile, for pass, for plane (high first), for token: one word into the array.

    Its address is source + token*source_row + pass + plane*source_plane. Two halves around a FIFO of `depth` words:
    the reading half runs ahead, into the next instruction too. The sending half gives the array a word per cycle,
    except that the first word of a pass waits for its weights (``loaded``), the last word of a tile for room behind
    the accumulator, and the first word of a plane of fewer than `distance` tokens until the accumulator has written
    all former sums. The first word of an instruction reaches the array :meth:`timing` cycles after its operands were
    taken, if nothing is in the way.

    Parameters
    ----------
    rows, cols, tokens: array shape; most tokens of an instruction
    words: scratchpad words; an address outside stops the reading half and raises ``fault``
    depth: words read ahead, a power of two
    distance: cycles from a token's beat to the next one that may add to the same sums

    Members
    -------
    ``i``: an instruction's operands, counts minus one. ``halt``: read no more, from the next cycle on.
    ``read``: scratchpad. ``fault``, ``index``: instruction `index` reads outside the scratchpad.
    ``loaded``, ``swap``: the next tile is whole; it is taken now (``token`` shows it one cycle later).
    ``room``, ``reserve``: a result can be kept; one is on its way.
    ``token``, ``beat``: to the array and, in the same cycle, to the accumulator.
    ``quiet``: no answer of the scratchpad is outstanding.
    ``working``: words are expected or waiting. ``blocked``: for want of room.
    """

    @staticmethod
    def timing(*, scratch_latency):
        """Timing of an instruction's first word: operands, the scratchpad, the FIFO's count, the array's operand."""
        return Timing(latency=scratch_latency + 3)

    @staticmethod
    def ahead(*, scratch_latency):
        """Words to read ahead, so that one is there in every cycle."""
        return 1 << ceil_log2(scratch_latency + 8)

    def __init__(self, *, rows, cols, tokens, words, depth, distance):
        self.tokens, self.cols, self.words, self.depth, self.distance = tokens, cols, words, depth, distance
        self.word_bits = 8 * rows
        operands = data.StructLayout({
            "source": 16, "source_row": 12, "source_plane": 16, "rows": 8, "passes": 9, "outputs": 13, "two_planes": 1,
            "index": INDEX_BITS,
        })  # fmt: skip
        self._tag = data.StructLayout({
            "beat": beat_layout(tokens=tokens), "swap": 1, "wait": 1, "unsigned": 1,
        })  # fmt: skip
        super().__init__({
            "i": In(stream.Signature(operands)),
            "read": Out(ScratchRead(self.word_bits)),
            "halt": In(1),
            "fault": Out(1),
            "index": Out(INDEX_BITS),
            "loaded": In(1),
            "swap": Out(1),
            "room": In(1),
            "reserve": Out(1),
            "token": stationary_members(rows=rows, cols=cols, sum_bits=1)["token"].flip(),
            "beat": Out(beat_layout(tokens=tokens)),
            "quiet": Out(1, init=1),
            "working": Out(1),
            "blocked": Out(1),
        })

    def elaborate(self, _platform):
        m = Module()
        m.submodules.ahead_words = words = Memory(shape=self.word_bits, depth=self.depth, init=[])
        m.submodules.ahead_tags = tags = Memory(shape=self._tag, depth=self.depth, init=[])
        pop, active, granted = Signal(), Signal(), Signal()
        free = Signal(range(self.depth + 1), init=self.depth)
        waiting = Signal(range(self.depth + 1))
        some_free, some_wait = Signal(init=1), Signal()  # free != 0, waiting != 0
        asked, answered, popped = (Signal(ceil_log2(self.depth), name=name) for name in ("asked", "answered", "popped"))

        store_word, store_tag = words.write_port(), tags.write_port()
        head_word, next_tag = words.read_port(domain="comb"), tags.read_port(domain="comb")
        # The oldest word's tag waits in a register. It is written before the word is answered, so it is there first.
        tag, known = Signal(self._tag, reset_less=True), Signal()
        following = Signal(ceil_log2(self.depth))
        load = (asked != following) & (pop | ~known)
        m.d.comb += [
            store_tag.addr.eq(asked),
            store_tag.en.eq(granted),
            store_word.addr.eq(answered),
            store_word.en.eq(self.read.valid),
            store_word.data.eq(self.read.data),
            head_word.addr.eq(popped),
            next_tag.addr.eq(following),
        ]
        m.d.sync += [
            asked.eq(asked + granted),
            answered.eq(answered + self.read.valid),
            popped.eq(popped + pop),
            free.eq(up_down(free, up=pop, down=granted)),
            waiting.eq(up_down(waiting, up=self.read.valid, down=pop)),
            some_free.eq((pop | free[1:].any() | (free[0] & ~granted)) & ~self.halt),
            some_wait.eq(self.read.valid | waiting[1:].any() | (waiting[0] & ~pop)),
            following.eq(following + load),
            known.eq(load | (known & ~pop)),
        ]
        with m.If(load):
            m.d.sync += tag.eq(next_tag.data)
        self._read(m, active, granted, some_free, store_tag.data)
        self._send(m, pop, some_wait, head_word.data, tag)
        m.d.comb += self.quiet.eq(asked == answered)
        m.d.comb += self.working.eq(active | (free != self.depth) | self.token.valid)
        return m

    def _read(self, m, active, granted, free, tag):
        """Address and loop counters of the word asked for."""
        operands = Signal(self.i.payload.shape(), reset_less=True)
        address, base = (Signal(SCRATCH_ADDRESS_BITS + 1, name=name, reset_less=True) for name in ("address", "base"))
        token = Signal(range(self.tokens))
        low = Signal()
        passes = Signal(9, reset_less=True)
        remaining = Signal(13, reset_less=True)
        few, last_tile = Signal(reset_less=True), Signal(reset_less=True)
        begin = Signal(reset_less=True)  # pass 0: sums are overwritten
        # Where the word is in its row and tile is known with it, not found out while the grant waits.
        row_begin, row_end, last_pass = (
            Signal(name=name, reset_less=True) for name in ("row_begin", "row_end", "last_pass")
        )
        plane_end, pass_end, tile_end, ends = (
            Signal(name=name) for name in ("plane_end", "pass_end", "tile_end", "ends")
        )
        inside = Signal(reset_less=True)
        m.d.comb += [
            plane_end.eq(row_end & operands.two_planes & ~low),
            pass_end.eq(row_end & ~plane_end),
            tile_end.eq(pass_end & last_pass),
            ends.eq(tile_end & last_tile),
            self.i.ready.eq(~active | (granted & ends)),
            self.read.request.payload.eq(address),
            self.read.request.valid.eq(active & free & inside),
            granted.eq(self.read.request.valid & self.read.request.ready),
            self.fault.eq(active & ~inside),
            self.index.eq(operands.index),
            tag.eq(Cat(token, begin & (low == 0), operands.two_planes & ~low,
                       last_pass & (low | ~operands.two_planes), row_begin & ~low, row_begin & few, low)),
        ]  # fmt: skip
        # The grant is late: what comes after it is known before, and the grant alone says when.
        step, row_anew, pass_anew, tile_anew, anew = (
            Signal(name=name) for name in ("step", "row_anew", "pass_anew", "tile_anew", "anew")
        )
        m.d.comb += [
            step.eq(granted | (self.i.valid & ~active)),
            row_anew.eq(row_end | ~active),
            pass_anew.eq(pass_end | ~active),
            tile_anew.eq(tile_end | ~active),
            anew.eq(ends | ~active),
        ]
        fresh = ~active | last_tile  # the next tile is the next instruction's
        source = extend(Mux(fresh, self.i.p.source, operands.source), SCRATCH_ADDRESS_BITS)
        onward, following = (Signal(SCRATCH_ADDRESS_BITS + 1, name=name) for name in ("onward", "following"))
        following_token = Signal.like(token)
        m.d.comb += [
            onward.eq(advance(base, Mux(plane_end, operands.source_plane, 1))),  # where a plane or pass begins
            following.eq(Mux(tile_anew, source, Mux(row_end, onward, advance(address, operands.source_row)))),
            following_token.eq(Mux(row_anew, 0, token + 1)),
        ]
        with m.If(step):
            m.d.sync += [
                address.eq(following),
                inside.eq(~following[exact_log2(self.words) :].any()),
                token.eq(following_token),
                low.eq(active & (low ^ (row_end & operands.two_planes))),
                row_begin.eq(row_anew),
                row_end.eq(following_token == Mux(anew, self.i.p.rows, operands.rows)),
            ]
        with m.If(step & pass_anew):
            m.d.sync += [
                base.eq(Mux(tile_anew, source, onward)),
                begin.eq(tile_anew),
                last_pass.eq(Mux(tile_anew, Mux(anew, self.i.p.passes, operands.passes) == 0, passes == 1)),
                passes.eq(
                    count_down(passes, load=~active | last_pass, value=Mux(fresh, self.i.p.passes, operands.passes))
                ),
            ]
        with m.If(step & tile_anew):
            m.d.sync += [
                remaining.eq(plus(Mux(fresh, 0, Const(-self.cols, 13)), Mux(fresh, self.i.p.outputs, remaining), 0)),
                last_tile.eq(Mux(anew, self.i.p.outputs < self.cols, remaining < 2 * self.cols)),
            ]
        with m.If(step & anew):
            m.d.sync += [
                active.eq(self.i.valid),
                operands.eq(self.i.payload),
                few.eq(self.i.p.rows < self.distance - 1),
            ]

    def _send(self, m, pop, waiting, word, tag):
        """Gives the array the oldest word as soon as nothing speaks against it."""
        recent = Signal(self.distance - 1)  # beats of the cycles before
        busy = Signal()  # any of them
        ready = Signal()
        m.d.comb += [
            ready.eq(waiting & (~tag.swap | self.loaded) & ~(tag.wait & busy)),
            pop.eq(ready & (~tag.beat.last | self.room)),
            self.swap.eq(pop & tag.swap),
            self.reserve.eq(pop & tag.beat.last),
        ]
        data = Signal.like(self.token.data.as_value(), reset_less=True)
        beat = Signal(self.beat.shape(), reset_less=True)
        valid, swap = Signal(), Signal()
        m.d.comb += [
            self.token.valid.eq(valid),
            self.token.swap.eq(swap),
            self.token.data.eq(data),
            self.beat.eq(beat),
        ]
        m.d.sync += [recent.eq(Cat(pop, recent)), busy.eq(pop | recent[:-1].any())]
        m.d.sync += [valid.eq(pop), swap.eq(self.swap), beat.eq(tag.beat)]
        m.d.sync += self.blocked.eq(ready & ~pop)
        for k in range(self.word_bits // 8):
            byte = word.word_select(k, 8)
            m.d.sync += data.word_select(k, 9).eq(Cat(byte, byte[-1] & ~tag.unsigned))

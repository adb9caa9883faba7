"""Words into elements."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.units.carry_chain import count_down
from hw.units.ports import lanes_of

__all__ = ["Unpacker", "beat_layout"]


def beat_layout(*, rows, lanes):
    """`lanes` elements, which of them count, and where they are.

    ``last`` ends a segment (what a row has within a group), ``group_last`` a group. ``index`` is the first
    element's position in its word, in beats, with the parity of the group on top.
    """
    return data.StructLayout({
        "x": lanes_of(lanes, signed(16)),
        "mask": lanes,
        "last": 1,
        "group_last": 1,
        "index": max(1, exact_log2(rows // lanes)) + 1,
    })


class Unpacker(wiring.Component):
    """Cuts words of int8 or int16 elements into beats of `lanes`.

    Words arrive in the order of RowReader: without ``grouped``, rows of ``length`` elements, each beginning with a
    new word; with ``grouped``, one word of each row, then the next word of each row. Rate: one beat per cycle,
    without a gap between words or rows. Latency: 1 cycle. A stall holds the beat and, once one more waits behind it,
    the word: what stalls does not reach the words in the same cycle.

    Parameters
    ----------
    rows : int
        Bytes of a word.
    lanes : int
        Elements of a beat, at most half the bytes of a word.

    Members
    -------
    start : In(1)
        Begins a tensor; everything of the previous one must have been taken.
    wide, grouped, length_m1, rows_m1 : In
        int16 elements; order; counts minus one. Stable from ``start`` on.
    i : In(stream of words), o : Out(stream of beats)
        No word is offered in the cycle of ``start``.
    row, coming : Out
        While ``coming`` is high, ``row`` is the row of the beat that ``o`` gets as soon as it is free.
    """

    latency = 1

    def __init__(self, *, rows, lanes):
        if 2 * lanes > rows:
            raise ValueError(f"lanes must be at most half the {rows} bytes of a word, not {lanes}")
        self.rows = rows
        self.lanes = lanes
        super().__init__({
            "start": In(1),
            "wide": In(1),
            "grouped": In(1),
            "length_m1": In(12),
            "rows_m1": In(8),
            "i": In(stream.Signature(8 * rows)),
            "o": Out(stream.Signature(beat_layout(rows=rows, lanes=lanes))),
            "row": Out(8),
            "coming": Out(1),
        })

    def elaborate(self, _platform):
        m = Module()
        rows, lanes = self.rows, self.lanes
        lane_bits = exact_log2(lanes)
        wide = Signal(reset_less=True)  # words come after `start`; a copy, since `wide` has its loads in other units
        m.d.sync += wide.eq(self.wide)
        element = Signal(exact_log2(rows))  # position in the word of the beat's first element
        piece = Signal(len(element) - lane_bits)  # of `lanes` bytes: the one with its first byte
        row = Signal.like(self.row)
        left = Signal(12)  # elements of the segment, or of the row from here on if that ends it, minus one
        group_left = Signal(12)
        parity = Signal()
        advance = Signal()  # a beat is made, which goes to `o` or, while that is taken, waits in `spare`
        free, waits = Signal(), Signal()
        spare_row = Signal.like(row, reset_less=True)
        m.d.comb += [
            advance.eq(self.i.valid & ~waits),
            free.eq(~self.o.valid | self.o.ready),
            self.coming.eq(self.i.valid | waits),
            self.row.eq(Mux(waits, spare_row, row)),
        ]

        next_element = Signal(len(element) + 1)
        word_end, tail, last, group_last = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            next_element.eq(element + lanes),
            word_end.eq(Mux(wide, next_element[-2], next_element[-1])),
            tail.eq(left[lane_bits:] == 0),
            last.eq(tail | (self.grouped & word_end)),
            group_last.eq(last & (row == self.rows_m1)),
            self.i.ready.eq(advance & (word_end | last)),
        ]

        next_group = Signal(12)
        m.d.comb += next_group.eq(Mux(group_last, group_left - Mux(wide, rows // 2, rows), group_left))
        with m.If(advance):
            m.d.sync += [
                element.eq(Mux(word_end | last, 0, next_element)),
                piece.eq(Mux(word_end | last, 0, Mux(wide, next_element << 1, next_element) >> lane_bits)),
                group_left.eq(next_group),
                parity.eq(parity ^ group_last),
            ]
            with m.If(last):
                m.d.sync += row.eq(Mux(group_last, 0, row + 1))
        with m.If(self.start):
            m.d.sync += [
                Cat(element, piece, row, parity).eq(0),
                group_left.eq(self.length_m1),
            ]

        load, segment = self.start | last, Mux(self.grouped & ~self.start, next_group, self.length_m1)
        with m.If(self.start | advance):
            m.d.sync += left.eq(
                Cat(
                    Mux(load, segment, left)[:lane_bits],
                    count_down(left[lane_bits:], load=load, value=segment[lane_bits:]),
                )
            )

        made = Signal.like(self.o.payload)
        spare, beat = Signal.like(made, reset_less=True), Signal.like(made, reset_less=True)
        every = Cat(~tail | (left[:lane_bits] >= lane) for lane in range(lanes))
        m.d.comb += [
            *(made.x[lane].eq(value) for lane, value in enumerate(self._elements(m, wide, piece))),
            made.mask.eq(every),
            made.last.eq(last),
            made.group_last.eq(group_last),
            made.index.eq(Cat((element >> lane_bits)[: len(made.index) - 1], parity)),
            self.o.payload.eq(beat),
        ]
        m.d.sync += waits.eq(~free & (self.i.valid | waits))
        with m.If(~waits):
            m.d.sync += [spare.eq(made), spare_row.eq(row)]
        with m.If(free):
            m.d.sync += [self.o.valid.eq(self.i.valid | waits), beat.eq(Mux(waits, spare, made))]
        return m

    def _elements(self, m, wide, piece):
        """The beat's elements: the chunk of 2*lanes bytes with the first one in it, then bytes of the chunk.

        `piece` is a register of its own, since most of the unpacker is behind it.
        """
        lanes = self.lanes
        chunk = Signal(16 * lanes)
        m.d.comb += chunk.eq(self.i.payload.word_select(piece[1:], 16 * lanes))
        half = chunk.word_select(piece[0], 8 * lanes)
        values = []
        for lane in range(lanes):
            low = Mux(wide, chunk[16 * lane : 16 * lane + 8], half[8 * lane : 8 * lane + 8])
            high = chunk[16 * lane + 8 : 16 * lane + 16]
            low_byte = Signal(8, name=f"low{lane}")
            m.d.comb += low_byte.eq(low)
            values.append(Cat(low_byte, Mux(wide, high, low_byte[7].replicate(8))).as_signed())
        return values

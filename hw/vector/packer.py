"""Elements into words."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.units.ports import lanes_of

__all__ = ["Packer", "packed_layout", "result_layout"]


def result_layout(*, lanes):
    """`lanes` results of 16 bits, the first ones of a beat; ``last`` ends a segment."""
    return data.StructLayout({"x": lanes_of(lanes, 16), "mask": lanes, "last": 1})


def packed_layout(*, rows):
    """A word, the low plane's word, the bytes to write; what it ends; ``column``: the next group has its own word."""
    return data.StructLayout({
        "word": 8 * rows,
        "low": 8 * rows,
        "mask": rows,
        "last": 1,
        "group_last": 1,
        "column": 1,
        "final": 1,
    })


class Packer(wiring.Component):
    """Collects beats of results into words: bytes (int8), pairs of bytes (``wide``) or two byte planes (``planes``).

    A word is complete when it is full or its segment ends. Bytes not written are not in the mask, or, with ``pad``,
    are zero and written. With ``halves``, every second group of segments begins in the middle of a word.
    Rate: one beat per cycle, without gaps while words are taken. Latency: 1 cycle from a word's last beat.
    A stalled word stops the beats.

    Parameters
    ----------
    rows : int
        Bytes of a word.
    lanes : int
        Results of a beat, at most half the bytes of a word.

    Members
    -------
    start : In(1)
        Begins a tensor.
    planes, wide, pad, halves, rows_m1, groups_m1 : In
        See above. Stable from ``start`` on.
    i : In(stream of result_layout), o : Out(stream of packed_layout)
    """

    latency = 1

    def __init__(self, *, rows, lanes):
        self.rows = rows
        self.lanes = lanes
        super().__init__({
            **{name: In(1) for name in ("start", "planes", "wide", "pad", "halves")},
            "rows_m1": In(8),
            "groups_m1": In(12),
            "i": In(stream.Signature(result_layout(lanes=lanes))),
            "o": Out(stream.Signature(packed_layout(rows=rows))),
        })

    def elaborate(self, _platform):
        m = Module()
        rows, lanes = self.rows, self.lanes
        element = Signal(exact_log2(rows))  # position in the word of the beat's first result
        first = Signal()  # the next beat begins a word
        accept = Signal()
        word_end, last, group_last = Signal(), Signal(), Signal()
        next_element = Signal(len(element) + 1)
        m.d.comb += [
            self.i.ready.eq(~self.o.valid | self.o.ready),
            accept.eq(self.i.valid & self.i.ready),
            next_element.eq(element + lanes),
            last.eq(self.i.payload.last),
            word_end.eq(last | Mux(self.wide, next_element[-2], next_element[-1])),
        ]

        row = Signal(8)
        group = Signal(12)
        half = Signal()
        next_half = Signal()
        m.d.comb += [
            group_last.eq(last & (row == self.rows_m1)),
            next_half.eq(half ^ (self.halves & group_last)),
        ]
        out = Signal.like(self.o.payload, reset_less=True)
        with m.If(accept):
            m.d.sync += [
                element.eq(Mux(word_end, Mux(next_half, rows // 2, 0), next_element)),
                first.eq(word_end),
                half.eq(next_half),
                group.eq(group + group_last),
                out.last.eq(last),
                out.group_last.eq(group_last),
                out.column.eq(~self.halves | half),
                out.final.eq(group_last & (group == self.groups_m1)),
            ]
            with m.If(last):
                m.d.sync += row.eq(Mux(group_last, 0, row + 1))
        with m.If(accept & word_end):
            m.d.sync += self.o.valid.eq(1)
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.start):
            m.d.sync += [Cat(element, row, group, half).eq(0), first.eq(1)]

        written = Signal(rows, reset_less=True)
        self._bytes(m, accept, first, element, out, written)
        m.d.comb += [self.o.payload.eq(out), self.o.payload.mask.eq(written | self.pad.replicate(rows))]
        return m

    def _bytes(self, m, accept, first, element, out, written):
        """Each byte of a word takes its result when the beat has one for it, and is cleared by the first beat."""
        rows, lanes = self.rows, self.lanes
        lane_bits = exact_log2(lanes)
        here, values = self.i.payload.mask, self.i.payload.x
        beat = Signal(rows // lanes)  # one-hot position of the beat
        m.d.comb += beat.eq(1 << element[lane_bits:])

        classes = []  # what a byte of the word can take, by its position modulo 2*lanes
        for k in range(2 * lanes):
            narrow, wide = values[k % lanes], values[k // 2]
            taken = Signal(8, name=f"byte{k}")
            classes.append(taken)
            m.d.comb += taken.eq(Mux(self.wide, wide.word_select(k % 2, 8), Mux(self.planes, narrow[8:], narrow[:8])))
        for b in range(rows):
            write = Signal(name=f"write{b}")
            clear = Signal(name=f"clear{b}")
            pair = b // 2
            m.d.comb += [
                write.eq(
                    accept
                    & Mux(self.wide, beat[pair // lanes] & here[pair % lanes], beat[b // lanes] & here[b % lanes])
                ),
                clear.eq(accept & first & ~write),
            ]
            with m.If(clear):
                m.d.sync += [out.word.word_select(b, 8).eq(0), out.low.word_select(b, 8).eq(0), written[b].eq(0)]
            with m.Elif(write):
                m.d.sync += [
                    out.word.word_select(b, 8).eq(classes[b % (2 * lanes)]),
                    out.low.word_select(b, 8).eq(values[b % lanes][:8]),
                    written[b].eq(1),
                ]

"""Puts results into scratchpad words: packed rows, or transposed an element at a time, or in two byte planes."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.data import StructLayout
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.matmul.address import advance, extend
from hw.matmul.gatherer import gathered_layout
from hw.spec.isa import TOGETHER, Kind
from hw.units.ports import INDEX_BITS, ScratchWrite

__all__ = ["ResultWriter"]

_SIZES = 3  # of elements: 1, 2 and 4 bytes
_STEP_BITS = 16


class ResultWriter(wiring.Component):
    """Output j of a token goes to byte dest + token*dest_row + j*size, or + j*dest_col with ``transpose``.

    An item that is aligned to its own size takes one cycle, any other (and every transposed one) a cycle per output.
    A word is written when it is full or the token's share of the tile ends, in the cycle in which the next one begins;
    while its write is not granted everything waits. The instruction retires ``latency`` cycles after its last item was
    taken, if that takes one cycle and its write is granted at once. ``dest`` and ``dest_row`` are multiples of the
    element size.

    Of an element of `TOGETHER` bytes that goes alone only those of the item's ``bytes`` are written, see `Gatherer`.

    With kind PLANES that place is the high byte's, and the low one goes `dest_col` bytes further. Where int8 takes one
    cycle it takes two, if `dest_col` is aligned as well, and there is a write in each.

    Parameters
    ----------
    rows, words: bytes of a scratchpad word and number of them, powers of two; an address outside raises ``fault``
    lanes: outputs of an item, a power of two

    Members
    -------
    ``i``: an instruction's operands; taken when the former one's last write has been granted.
    ``items``: from the gatherer. ``write``: scratchpad. ``halt``: write no more, from the next cycle on.
    ``retired``: the cycle after the last write of an instruction. ``fault``, ``index``: of the current instruction.
    """

    latency = 3  # the item, its word, the retirement

    def __init__(self, *, rows, words, lanes):
        self.rows, self.words, self.lanes = rows, words, lanes
        operands = StructLayout({
            "dest": 21, "dest_row": _STEP_BITS, "dest_col": _STEP_BITS, "kind": 2, "transpose": 1, "index": INDEX_BITS,
        })  # fmt: skip
        super().__init__({
            "i": In(stream.Signature(operands)),
            "items": In(stream.Signature(gathered_layout(lanes=lanes))),
            "write": Out(ScratchWrite(8 * rows)),
            "halt": In(1),
            "retired": Out(1),
            "fault": Out(1),
            "index": Out(INDEX_BITS),
        })

    def elaborate(self, _platform):
        m = Module()
        operands = Signal(self.i.payload.shape(), reset_less=True)
        active, held, full, more = Signal(), Signal(), Signal(), Signal()
        item = Signal(self.items.payload.shape(), reset_less=True)
        step, done, granted, aligned, take = Signal(), Signal(), Signal(), Signal(), Signal()
        high, low = Signal(), Signal()  # the next step is one of high bytes, one of low ones
        outside, end = Signal(reset_less=True), Signal(reset_less=True)  # of the word being written
        asks = Signal()  # full & ~outside, until a halt
        m.d.comb += [
            self.write.request.valid.eq(asks),
            granted.eq(self.write.request.valid & self.write.request.ready),
            self.fault.eq(full & outside),
            self.index.eq(operands.index),
            step.eq(held & active & (~full | (granted & ~end))),
            done.eq(step & ~high & (aligned | (item.keep[1:] == 0))),
            self.items.ready.eq(~held | done),
            self.i.ready.eq(~active),
            take.eq(self.i.valid & ~active),
        ]
        with m.If(take):
            m.d.sync += [active.eq(1), operands.eq(self.i.payload), high.eq(self.i.p.kind == Kind.PLANES), low.eq(0)]
        with m.Elif(granted & end):
            m.d.sync += active.eq(0)
        with m.Elif(step):
            m.d.sync += [high.eq(low), low.eq(high)]
        m.d.sync += [self.retired.eq(granted & end), held.eq(self.items.valid | (held & ~done))]
        with m.If(self.items.ready):
            m.d.sync += item.eq(self.items.payload)
        with m.Elif(step & ~high):
            width = len(item["values"][0])
            m.d.sync += [item["values"].eq(item["values"].as_value() >> width), item.keep.eq(item.keep >> 1)]

        address, flush = self._address(m, operands, item, take, step, done, aligned, high, low)
        self._word(m, operands.kind, item, aligned, address, step, more, high)
        beyond = address[ceil_log2(self.words * self.rows) :].any()
        m.d.sync += [
            full.eq((step & flush) | (full & ~granted)),
            asks.eq((step & flush & ~beyond) | (asks & ~granted)),
        ]
        with m.If(self.halt):
            m.d.sync += asks.eq(0)
        with m.If(step):
            m.d.sync += [more.eq(~flush), end.eq(item.end & done), outside.eq(beyond)]
        return m

    def _address(self, m, operands, item, take, step, done, aligned, high, low):
        """Byte address of the step's first byte, and whether the word is complete with this step."""
        bits = max(ceil_log2(self.words * self.rows), _STEP_BITS)
        address, upper, row, tile = (
            Signal(bits + 1, name=name, reset_less=True) for name in ("address", "upper", "row", "tile")
        )  # `upper`: of the high byte, when the low one's turn has come
        beyond, next_row = Signal(bits + 1), Signal(bits + 1)
        fits = Signal(reset_less=True)  # items are aligned: those of a token all are, or none is
        never = Signal(reset_less=True)  # of the instruction's tokens none fits
        opening = Signal()  # the first token of a tile, whose end is where the next tile begins
        stride, item_stride = (  # bytes to the next output, to the next item
            Signal(_STEP_BITS, name=name, reset_less=True) for name in ("stride", "item_stride")
        )
        sizes = [1 << k for k in range(_SIZES)]
        full = beyond[: ceil_log2(self.rows)] == 0
        flush = operands.transpose | high | low | (done & item.token_end) | full
        m.d.comb += [
            aligned.eq(fits),
            beyond.eq(advance(Mux(low, upper, address), Mux(high, operands.dest_col, Mux(fits, item_stride, stride)))),
            next_row.eq(advance(row, operands.dest_row)),
        ]

        following = Mux(item.last_token, Mux(opening, beyond, tile), next_row)
        with m.If(step):
            m.d.sync += address.eq(beyond)
        with m.If(high):  # whether the step is taken or not: `step` is late
            m.d.sync += upper.eq(address)
        with m.If(done & item.token_end):
            m.d.sync += [address.eq(following), row.eq(following), opening.eq(item.last_token)]
            m.d.sync += fits.eq(~never & self._aligned(operands.kind, following))
            with m.If(opening):
                m.d.sync += tile.eq(beyond)
        with m.If(take):
            m.d.sync += [
                address.eq(extend(self.i.p.dest, bits)),
                row.eq(extend(self.i.p.dest, bits)),
                opening.eq(1),
                fits.eq(~self._never(self.i.p) & self._aligned(self.i.p.kind, self.i.p.dest)),
                never.eq(self._never(self.i.p)),
                stride.eq(Mux(self.i.p.transpose, self.i.p.dest_col, self._by_size(self.i.p.kind, sizes))),
                item_stride.eq(self._by_size(self.i.p.kind, [self.lanes * size for size in sizes])),
            ]
        return address, flush

    def _aligned(self, kind, address):
        """Whether the items from this address on are aligned to their size, and no larger than a word."""
        sizes = [self.lanes << k for k in range(_SIZES)]
        return self._by_size(kind, [(address[: ceil_log2(size)] == 0) & (size <= self.rows) for size in sizes])

    def _never(self, operands):
        """Whether outputs go one by one, or the low plane's are not aligned."""
        return operands.transpose | ((operands.kind == Kind.PLANES) & operands.dest_col[: ceil_log2(self.lanes)].any())

    def _word(self, m, kind, item, aligned, address, step, more, high):
        """The word being put together: every byte takes the output that belongs there, if it is its turn."""
        low = ceil_log2(self.rows)
        place = Signal(len(address) - low, reset_less=True)
        words = Signal(8 * self.rows, reset_less=True)
        mask = Signal(self.rows, reset_less=True)
        enable = Signal(self.rows)
        values = item["values"]
        bytes_ = [value.word_select(high, 8) for value in values]  # of elements of one byte
        for b in range(self.rows):
            turn, byte = [], []
            for k in range(_SIZES):
                lane, part = (b >> k) % self.lanes, b % (1 << k)
                wide = ceil_log2(self.lanes << k)
                single = address[k:low] == b >> k
                if 1 << k == TOGETHER:  # an element of another size has all its bytes
                    single &= item.bytes[part]
                group = (address[wide:low] == b >> wide) & item.keep[lane] if wide <= low else 0
                turn.append(Mux(aligned, group, single))
                chosen = [value.word_select(part, 8) for value in values] if k else bytes_
                byte.append(Mux(aligned, chosen[lane], chosen[0]))
            m.d.comb += enable[b].eq(self._by_size(kind, turn))
            with m.If(step & enable[b]):
                m.d.sync += words.word_select(b, 8).eq(self._by_size(kind, byte))
        with m.If(step):
            m.d.sync += [mask.eq(Mux(more, mask, 0) | enable), place.eq(address[low:])]
        m.d.comb += [
            self.write.request.p.address.eq(place),
            self.write.request.p.data.eq(words),
            self.write.request.p.mask.eq(mask),
        ]

    @staticmethod
    def _by_size(kind, choices):
        """The choice of elements of 1 byte (also PLANES), 2 or 4."""
        return Mux(kind[0], Mux(kind[1], choices[0], choices[1]), Mux(kind[1], choices[2], choices[0]))

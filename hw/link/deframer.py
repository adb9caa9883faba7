"""Requests out of a stream of bytes that may be damaged anywhere."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.link.byte import BYTE
from hw.link.crc32 import CRC32
from hw.spec.link import CHECK_BYTES, HEADER_BYTES, MARK_REQUEST, PAYLOAD_LIMIT, REQUEST, TAG, Op

__all__ = ["HEADER", "Deframer"]

HEADER = data.StructLayout({field.name: field.bits for field in REQUEST if field.name != "check"})
_BODY_BYTES = HEADER_BYTES - CHECK_BYTES


class Deframer(wiring.Component):
    """Finds headers whose check is right; everything else is passed over.

    A header that fails its check, or whose bytes stop, costs at most the bytes it was thought to have.

    Parameters
    ----------
    gap_cycles : int
        A power of two: so many cycles without a byte end a frame.

    Members
    -------
    i : In(stream(BYTE))
    header : Out(stream(HEADER))
        Stable from ``valid`` until the ``end`` of the same request, if it has a payload, has been taken.
    follows : Out(1)
        With ``header.valid``: a WRITE_MEMORY of a legal size, whose payload follows when the header has been taken.
    payload : Out(stream(8))
        ``argument`` bytes, or fewer if they stop coming.
    end : Out(stream(1))
        After the payload: it was whole and its check right.
    """

    def __init__(self, *, gap_cycles):
        self.gap_bits = exact_log2(gap_cycles)
        super().__init__({
            "i": In(stream.Signature(BYTE)),
            "header": Out(stream.Signature(HEADER)),
            "follows": Out(1),
            "payload": Out(stream.Signature(8)),
            "end": Out(stream.Signature(1)),
        })

    def elaborate(self, _platform):
        m = Module()
        m.submodules.crc = crc = CRC32()
        header = Signal(8 * _BODY_BYTES, reset_less=True)
        left = Signal(range(PAYLOAD_LIMIT + 1), reset_less=True)  # bytes of what is being received
        whole = Signal(reset_less=True)
        cut = Signal(reset_less=True)  # the datagram ended with the header
        byte, take = self.i.p.data, Signal()
        gap = Signal(self.gap_bits + 1)
        count = self.header.p.argument
        m.d.comb += [
            take.eq(self.i.valid & self.i.ready),
            crc.data.eq(byte),
            self.header.p.eq(header),
            self.follows.eq((self.header.p.op == Op.WRITE_MEMORY) & (count != 0) & (count <= PAYLOAD_LIMIT)),
            self.payload.p.eq(byte),
            self.end.p.eq(whole & crc.good),
        ]
        m.d.sync += gap.eq(gap + 1)
        with m.If(take):
            m.d.sync += gap.eq(0)
        stopped = gap[-1]

        with m.FSM():
            with m.State("Hunt"):
                m.d.comb += [self.i.ready.eq(1), crc.clear.eq(1)]
                m.d.sync += [left.eq(HEADER_BYTES - 1), gap.eq(0)]
                with m.If(take):
                    m.d.sync += header.eq(Cat(header[8:], byte))
                with m.If(take & (byte == MARK_REQUEST) & ~self.i.p.last):
                    m.next = "Tag"
            with m.State("Tag"):
                m.d.comb += [self.i.ready.eq(1), crc.enable.eq(take)]
                with m.If(take):
                    m.d.sync += [header.eq(Cat(header[8:], byte)), left.eq(left - 1)]
                    m.next = "Hunt"
                    with m.If((byte[4:] == TAG) & ~self.i.p.last):
                        m.next = "Header"
                with m.Elif(stopped):
                    m.next = "Hunt"
            with m.State("Header"):
                m.d.comb += [self.i.ready.eq(1), crc.enable.eq(take)]
                with m.If(take):
                    m.d.sync += [left.eq(left - 1), cut.eq(self.i.p.last)]
                    with m.If(left > CHECK_BYTES):
                        m.d.sync += header.eq(Cat(header[8:], byte))
                    with m.If(left == 1):
                        m.next = "Judge"
                    with m.Elif(self.i.p.last):
                        m.next = "Hunt"
                with m.Elif(stopped):
                    m.next = "Hunt"
            with m.State("Judge"):
                m.next = "Hunt"
                with m.If(crc.good):
                    m.next = "Offer"
            with m.State("Offer"):
                m.d.comb += [self.header.valid.eq(1), crc.clear.eq(1)]
                m.d.sync += [left.eq(count), whole.eq(0), gap.eq(0)]
                with m.If(self.header.ready):
                    m.next = "Hunt"
                    with m.If(self.follows & cut):
                        m.next = "End"
                    with m.Elif(self.follows):
                        m.next = "Payload"
            with m.State("Payload"):
                m.d.comb += [self.payload.valid.eq(self.i.valid), self.i.ready.eq(self.payload.ready)]
                m.d.comb += crc.enable.eq(take)
                with m.If(take):
                    m.d.sync += left.eq(left - 1)
                    with m.If(self.i.p.last):
                        m.next = "End"
                    with m.Elif(left == 1):
                        m.d.sync += left.eq(CHECK_BYTES)
                        m.next = "Check"
                with m.Elif(stopped):
                    m.next = "End"
            with m.State("Check"):
                m.d.comb += [self.i.ready.eq(1), crc.enable.eq(take)]
                with m.If(take):
                    m.d.sync += [left.eq(left - 1), whole.eq(left == 1)]
                    with m.If(self.i.p.last | (left == 1)):
                        m.next = "End"
                with m.Elif(stopped):
                    m.next = "End"
            with m.State("End"):
                m.d.comb += self.end.valid.eq(1)
                with m.If(self.end.ready):
                    m.next = "Hunt"
        return m

"""Responses into a stream of bytes."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.link.byte import BYTE
from hw.link.crc32 import CRC32
from hw.spec.link import CHECK_BYTES, HEADER_BYTES, MARK_RESPONSE, RESPONSE

__all__ = ["ANSWER", "Framer"]

ANSWER = data.StructLayout({field.name: field.bits for field in RESPONSE if field.name not in {"mark", "check"}})


class Framer(wiring.Component):
    """Sends a header and its check and, if told so, a payload and its check.

    Members
    -------
    header : In(stream(ANSWER))
        Stays until the whole frame has been sent; then it is taken.
    follows : In(1)
        With ``header``: a payload of ``detail + 1`` bytes comes.
    payload : In(stream(BYTE))
        ``last`` with its last byte.
    o : Out(stream(BYTE)), length : Out(16)
        The frame and its number of bytes.
    """

    def __init__(self):
        super().__init__({
            "header": In(stream.Signature(ANSWER)),
            "follows": In(1),
            "payload": In(stream.Signature(BYTE)),
            "o": Out(stream.Signature(BYTE)),
            "length": Out(16),
        })

    def elaborate(self, _platform):
        m = Module()
        m.submodules.crc = crc = CRC32()
        index = Signal(range(HEADER_BYTES))
        behind = Signal()  # the header has been sent
        take, checking = Signal(), Signal()
        header = Cat(Const(MARK_RESPONSE, 8), self.header.p.as_value(), crc.value)
        m.d.comb += [
            take.eq(self.o.valid & self.o.ready),
            checking.eq(index >= HEADER_BYTES - CHECK_BYTES),
            crc.data.eq(self.o.p.data),
            crc.enable.eq(take & ~checking & (index != 0)),
            crc.clear.eq((index == 0) & ~behind),
            self.o.p.data.eq(header.word_select(index, 8)),
            self.length.eq(HEADER_BYTES),
        ]
        with m.If(self.follows):
            m.d.comb += self.length.eq(self.header.p.detail + (HEADER_BYTES + 1 + CHECK_BYTES))

        with m.FSM():
            with m.State("Header"):  # after a payload, its check only
                m.d.comb += self.o.valid.eq(self.header.valid)
                with m.If(take):
                    m.d.sync += index.eq(index + 1)
                with m.If(index == HEADER_BYTES - 1):
                    m.d.comb += self.o.p.last.eq(behind | ~self.follows)
                    with m.If(take & self.follows & ~behind):
                        m.d.sync += behind.eq(1)
                        m.next = "Clear"
                    with m.Elif(take):
                        m.d.comb += self.header.ready.eq(1)
                        m.d.sync += behind.eq(0)
            with m.State("Clear"):
                m.d.comb += crc.clear.eq(1)
                m.d.sync += index.eq(HEADER_BYTES - CHECK_BYTES)
                m.next = "Payload"
            with m.State("Payload"):
                m.d.comb += [
                    self.o.valid.eq(self.payload.valid),
                    self.o.p.data.eq(self.payload.p.data),
                    self.payload.ready.eq(self.o.ready),
                    crc.enable.eq(take),
                ]
                with m.If(take & self.payload.p.last):
                    m.next = "Header"
        return m

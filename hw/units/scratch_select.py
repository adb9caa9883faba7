"""Ports of LOAD and STORE into the scratchpad of the slice that an instruction names."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.units.ports import SLICE_BITS, ScratchRead, ScratchWrite

__all__ = ["ReadSelect", "WriteSelect"]


class ReadSelect(wiring.Component):
    """A reader of one scratchpad of `slices`. Answers come a cycle later than theirs, and stay in order while ``slice``
    is the same.

    Parameters
    ----------
    word_bits, slices : int

    Members
    -------
    slice : In, below `slices` while there is a request
    i : In(ScratchRead), o : Out(ScratchRead).array(slices)
    """

    def __init__(self, *, word_bits, slices):
        super().__init__({
            "slice": In(SLICE_BITS),
            "i": In(ScratchRead(word_bits)),
            "o": Out(ScratchRead(word_bits)).array(slices),
        })

    def elaborate(self, _platform):
        m = Module()
        chosen = Signal(len(self.o))
        data = 0
        for number, port in enumerate(self.o):
            m.d.comb += [
                chosen[number].eq(self.slice == number),
                port.request.valid.eq(self.i.request.valid & chosen[number]),
                port.request.payload.eq(self.i.request.payload),
            ]
            data |= port.data & port.valid.replicate(len(port.data))
        held = Signal.like(self.i.data, reset_less=True)
        m.d.sync += [held.eq(data), self.i.valid.eq(Cat(port.valid for port in self.o).any())]
        m.d.comb += [
            self.i.request.ready.eq((chosen & Cat(port.request.ready for port in self.o)).any()),
            self.i.data.eq(held),
        ]
        return m


class WriteSelect(wiring.Component):
    """A writer into one scratchpad of `slices`, or, with ``every``, into all: its word is taken when the last has it.

    Parameters
    ----------
    word_bits, slices : int

    Members
    -------
    slice, every : In, stable while there is a request
    i : In(ScratchWrite), o : Out(ScratchWrite).array(slices)
    """

    def __init__(self, *, word_bits, slices):
        super().__init__({
            "slice": In(SLICE_BITS),
            "every": In(1),
            "i": In(ScratchWrite(word_bits)),
            "o": Out(ScratchWrite(word_bits)).array(slices),
        })

    def elaborate(self, _platform):
        m = Module()
        wanted, done, has = (Signal(len(self.o), name=name) for name in ("wanted", "done", "has"))
        request = self.i.request
        for number, port in enumerate(self.o):
            m.d.comb += [
                wanted[number].eq(self.every | (self.slice == number)),
                port.request.valid.eq(request.valid & wanted[number] & ~done[number]),
                port.request.payload.eq(request.payload),
                has[number].eq(done[number] | port.request.ready),
            ]
        m.d.comb += request.ready.eq((has | ~wanted).all())
        m.d.sync += done.eq((has & wanted) & (request.valid & ~request.ready).replicate(len(done)))
        return m

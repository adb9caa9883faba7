"""The serial line: 8 data bits, no parity, one stop bit."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from hw.link.byte import BYTE
from hw.spec.link import RECEIVE_BYTES
from hw.units.stream_fifo import StreamFIFO

__all__ = ["UART", "UARTReceiver", "UARTTransmitter", "uart_divisor"]

_SAMPLES = 3  # of the line, one a cycle; the majority counts, so a glitch of one cycle is not seen
_BITS = 10  # start, data, stop
_ERROR = 0.01  # of the baud rate that the divisor may cost: a quarter of what the receiver takes


def uart_divisor(clock_hz, baud):
    """Clock cycles per bit. Raises ValueError if no whole number of them is within 1 % of the rate."""
    divisor = max(1, round(clock_hz / baud))
    error = clock_hz / divisor / baud - 1
    if abs(error) > _ERROR:
        raise ValueError(
            f"a UART of {baud:,} baud cannot be had from {clock_hz / 1e6:g} MHz: the nearest whole divisor, {divisor}, "
            f"is {abs(error):.2%} off, and at most {_ERROR:.0%} is wanted"
        )
    _check(divisor)
    return divisor


def _check(divisor):
    if not 4 <= divisor < 1 << 16:
        raise ValueError(f"divisor must be from 4 to 65535 cycles per bit, not {divisor}")


class UARTReceiver(wiring.Component):
    """Bytes of a serial line. Each start bit sets the clock anew; a byte without a stop bit is dropped.

    Between sender and receiver the clocks may differ by about 4 % at 16 cycles per bit and more.

    Parameters
    ----------
    divisor : int
        Clock cycles per bit, at least 4.

    Members
    -------
    line : In(1)
        Asynchronous.
    o : Out(stream(BYTE))
        ``valid`` for one cycle: what is not taken is lost.
    """

    def __init__(self, *, divisor):
        _check(divisor)
        self.divisor = divisor
        super().__init__({"line": In(1), "o": Out(stream.Signature(BYTE, always_ready=True))})

    def elaborate(self, _platform):
        m = Module()
        seen = Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.line, seen, init=1)
        samples = Signal(_SAMPLES, init=-1)
        level, rested = Signal(init=1), Signal(init=1)  # only an edge starts a byte: a break is none
        m.d.sync += [
            samples.eq(Cat(seen, samples)),
            level.eq((samples[0] & samples[1]) | (samples[2] & (samples[0] | samples[1]))),
        ]
        count = Signal(range(self.divisor), reset_less=True)
        left = Signal(range(_BITS + 1))  # bits to come
        bits = Signal(_BITS - 1, reset_less=True)  # data and stop bit, the last one highest
        done = Signal()
        m.d.sync += rested.eq(level)
        m.d.sync += [count.eq(Mux(count == 0, self.divisor - 1, count - 1)), done.eq(0)]
        with m.If(left == 0):
            m.d.sync += count.eq(self.divisor // 2 - 1)  # the middle of the start bit
            with m.If(~level & rested):
                m.d.sync += left.eq(_BITS)
        with m.Elif(count == 0):
            m.d.sync += [left.eq(left - 1), bits.eq(Cat(bits[1:], level))]
            with m.If((left == _BITS) & level):
                m.d.sync += left.eq(0)  # too short for a start bit
            with m.If(left == 1):
                m.d.sync += done.eq(level)
        m.d.comb += [self.o.valid.eq(done), self.o.p.data.eq(bits[: _BITS - 2])]
        return m


class UARTTransmitter(wiring.Component):
    """Bytes onto a serial line, without a gap while there are some.

    Parameters
    ----------
    divisor : int
        Clock cycles per bit.

    Members
    -------
    i : In(stream(BYTE))
    line : Out(1)
        From a register, high at rest.
    """

    def __init__(self, *, divisor):
        _check(divisor)
        self.divisor = divisor
        super().__init__({"i": In(stream.Signature(BYTE)), "line": Out(1, init=1)})

    def elaborate(self, _platform):
        m = Module()
        count = Signal(range(self.divisor))
        left = Signal(range(_BITS))  # bits after the one on the line
        bits = Signal(_BITS - 1, reset_less=True)
        m.d.comb += self.i.ready.eq((left == 0) & (count == 0))
        with m.If(count != 0):
            m.d.sync += count.eq(count - 1)
        with m.Elif(left != 0):
            m.d.sync += [count.eq(self.divisor - 1), left.eq(left - 1), self.line.eq(bits[0]), bits.eq(bits >> 1)]
        with m.Elif(self.i.valid):
            m.d.sync += [
                count.eq(self.divisor - 1),
                left.eq(_BITS - 1),
                self.line.eq(0),
                bits.eq(Cat(self.i.p.data, 1)),
            ]
        return m


class UART(wiring.Component):
    """Receiver with a FIFO, and transmitter, as the bridge wants them.

    Parameters
    ----------
    divisor : int
        Clock cycles per bit, at least 4: see `uart_divisor`.

    Members
    -------
    rx : In(1), tx : Out(1)
        The pins.
    o : Out(stream(BYTE))
        What was received; up to `RECEIVE_BYTES` wait here, further ones are lost.
    i : In(stream(BYTE))
        What is to be sent.
    """

    def __init__(self, *, divisor):
        _check(divisor)
        self.divisor = divisor
        super().__init__({
            "rx": In(1),
            "tx": Out(1, init=1),
            "o": Out(stream.Signature(BYTE)),
            "i": In(stream.Signature(BYTE)),
        })

    def elaborate(self, _platform):
        m = Module()
        m.submodules.receiver = receiver = UARTReceiver(divisor=self.divisor)
        m.submodules.transmitter = transmitter = UARTTransmitter(divisor=self.divisor)
        m.submodules.fifo = fifo = StreamFIFO(shape=8, depth=RECEIVE_BYTES, block=True)
        wiring.connect(m, wiring.flipped(self.i), transmitter.i)
        m.d.comb += [
            receiver.line.eq(self.rx),
            self.tx.eq(transmitter.line),
            fifo.i.p.eq(receiver.o.p.data),
            fifo.i.valid.eq(receiver.o.valid),
            self.o.p.data.eq(fifo.o.p),
            self.o.valid.eq(fifo.o.valid),
            fifo.o.ready.eq(self.o.ready),
        ]
        return m

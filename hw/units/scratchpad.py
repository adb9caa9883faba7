"""The scratchpad: banks of block RAM behind two small crossbars."""

from amaranth import *
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In
from amaranth.utils import exact_log2

from hw.units.memory_attributes import NEVER_TOGETHER
from hw.units.ports import ScratchRead, ScratchWrite

__all__ = ["Scratchpad"]


class Scratchpad(Component):
    """`banks` memories of `bank_words` words; each serves one read and one write per cycle.

    Word `address` lies in bank ``address // bank_words``. Within a bank the lowest-numbered requesting port is
    granted (``ready``) in the cycle it asks; the others wait. Ports of different banks do not disturb each other.
    A granted read is answered exactly ``latency`` cycles later: one each for the memory's input registers, the memory
    and its output register; the answer's bank multiplexer comes after that register. A write granted in cycle c is seen
    by a read granted in c+1. What a read of the same word granted in c gets is undefined: thresholds keep such pairs
    apart. Address bits beyond ``banks * bank_words`` are ignored: who asks has checked them.

    Parameters
    ----------
    word_bits : int
        A multiple of 8; writes are masked per byte.
    banks, bank_words : int
        Powers of two.
    readers, writers : int
        Number of ports.

    Members
    -------
    read0, read1, ... : In(ScratchRead(word_bits))
        Highest priority first.
    write0, write1, ... : In(ScratchWrite(word_bits))
        Highest priority first.
    """

    latency = 3

    def __init__(self, *, word_bits, banks, bank_words, readers=3, writers=3):
        if word_bits % 8:
            raise ValueError(f"word_bits must be a multiple of 8, not {word_bits}")
        self.word_bits = word_bits
        self.banks = banks
        self.bank_words = bank_words
        self.index_bits = exact_log2(bank_words)
        self.bank_bits = exact_log2(banks)
        super().__init__({
            **{f"read{n}": In(ScratchRead(word_bits)) for n in range(readers)},
            **{f"write{n}": In(ScratchWrite(word_bits)) for n in range(writers)},
        })
        self.reads = [getattr(self, f"read{n}") for n in range(readers)]
        self.writes = [getattr(self, f"write{n}") for n in range(writers)]

    def elaborate(self, _platform):
        m = Module()
        outputs = []
        for bank in range(self.banks):
            memory = Memory(shape=unsigned(self.word_bits), depth=self.bank_words, init=[], attrs=NEVER_TOGETHER)
            m.submodules[f"bank{bank}"] = memory
            reader = memory.read_port()
            writer = memory.write_port(granularity=8)
            index = slice(0, self.index_bits)

            asked = [self._asks(port.request, port.request.p, bank) for port in self.reads]
            m.d.sync += [
                reader.en.eq(Cat(asked).any()),
                reader.addr.eq(_first(asked, [port.request.p[index] for port in self.reads])),
            ]
            asked = [self._asks(port.request, port.request.p.address, bank) for port in self.writes]
            requests = [port.request.p for port in self.writes]
            m.d.sync += [
                writer.en.eq(
                    _first(asked, [request.mask for request in requests])
                    & Cat(asked).any().replicate(self.word_bits // 8)
                ),
                writer.addr.eq(_first(asked, [request.address[index] for request in requests])),
                writer.data.eq(_first(asked, [request.data for request in requests])),
            ]
            output = Signal(self.word_bits, name=f"output{bank}", reset_less=True)
            m.d.sync += output.eq(reader.data)
            outputs.append(output)

        self._grant(m, [(port.request, port.request.p) for port in self.reads])
        self._grant(m, [(port.request, port.request.p.address) for port in self.writes])
        self._answer(m, Array(outputs))
        return m

    def _bank(self, address):
        return address[self.index_bits : self.index_bits + self.bank_bits]

    def _asks(self, request, address, bank):
        return request.valid & (self._bank(address) == bank)

    def _grant(self, m, requests):
        """A request is ready unless a stronger one wants the same bank."""
        for n, (request, address) in enumerate(requests):
            stronger = [rival.valid & (self._bank(other) == self._bank(address)) for rival, other in requests[:n]]
            m.d.comb += request.ready.eq(~Cat(stronger).any())

    def _answer(self, m, outputs):
        for port in self.reads:
            valid = Signal(self.latency)
            bank = Signal(self.bank_bits * self.latency, reset_less=True)
            m.d.sync += [
                valid.eq(Cat(port.request.valid & port.request.ready, valid)),
                bank.eq(Cat(self._bank(port.request.p), bank)),
            ]
            m.d.comb += [
                port.valid.eq(valid[-1]),
                port.data.eq(outputs[bank[-self.bank_bits :]]),
            ]


def _first(asked, values):
    """The value of the first port that asks; of the last one if none does."""
    chosen = values[-1]
    for ask, value in zip(reversed(asked[:-1]), reversed(values[:-1]), strict=True):
        chosen = Mux(ask, value, chosen)
    return chosen

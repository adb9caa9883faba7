"""CRC-32 of a stream of bytes, eight bits a step."""

from functools import reduce
from operator import xor

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.spec.link import CRC_INIT, CRC_POLYNOMIAL, CRC_RESIDUE

__all__ = ["CRC32", "crc32_step"]


def _step(crc):
    for _ in range(8):
        crc = crc >> 1 ^ (CRC_POLYNOMIAL if crc & 1 else 0)
    return crc


_COLUMNS = tuple(_step(1 << place) for place in range(8))  # what each bit of register xor byte adds, as CRC is linear


def crc32_step(crc, byte):
    """The register, a Value of 32 bits, after one more byte."""
    mixed = crc[:8] ^ byte
    added = (reduce(xor, (mixed[n] for n, column in enumerate(_COLUMNS) if column >> place & 1)) for place in range(32))
    return (crc >> 8) ^ Cat(added)


class CRC32(wiring.Component):
    """The register of a CRC-32.

    Members
    -------
    clear : In(1)
        Back to the start; excludes ``enable``.
    enable : In(1), data : In(8)
        One more byte.
    value : Out(32)
        The check of the bytes so far.
    good : Out(1)
        The last four bytes were the right check of those before.
    """

    def __init__(self):
        super().__init__({"clear": In(1), "enable": In(1), "data": In(8), "value": Out(32), "good": Out(1)})

    def elaborate(self, _platform):
        m = Module()
        crc = Signal(32, init=CRC_INIT)
        m.d.comb += [self.value.eq(~crc), self.good.eq(crc == CRC_RESIDUE)]
        with m.If(self.enable):
            m.d.sync += crc.eq(crc32_step(crc, self.data))
        with m.If(self.clear):
            m.d.sync += crc.eq(CRC_INIT)
        return m

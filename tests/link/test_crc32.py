# amaranth: UnusedElaboratable=no
"""The CRC against zlib's."""

import random
import zlib

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.link.crc32 import CRC32, crc32_step
from tests.support.streams import simulate


class Step(wiring.Component):
    crc: In(32)
    byte: In(8)
    next: Out(32)

    def elaborate(self, _):
        m = Module()
        m.d.comb += self.next.eq(crc32_step(self.crc, self.byte))
        return m


def test_every_byte_and_every_register_bit():
    """The step is linear: a basis of the register and all bytes are enough."""
    dut = Step()

    async def testbench(ctx):
        for byte in range(256):
            for crc in (0, 0xFFFFFFFF, *(1 << n for n in range(32))):
                ctx.set(dut.crc, crc)
                ctx.set(dut.byte, byte)
                await ctx.delay(1e-9)
                assert ctx.get(dut.next) == zlib.crc32(bytes((byte,)), crc ^ 0xFFFFFFFF) ^ 0xFFFFFFFF

    simulate(dut, testbench)


def test_check_is_zlibs_and_good_only_after_it():
    """Begun anew by ``clear`` and by a reset, in whatever it was."""
    dut, rng, reset = CRC32(), random.Random(3), Signal()

    async def testbench(ctx):
        for number, size in enumerate((1, 2, 3, 4, 17, 300)):
            data = rng.randbytes(size)
            begin = reset if number % 2 else dut.clear
            ctx.set(begin, 1)
            await ctx.tick()
            ctx.set(begin, 0)
            ctx.set(dut.enable, 1)
            for byte in data:
                ctx.set(dut.data, byte)
                await ctx.tick()
            assert ctx.get(dut.value) == zlib.crc32(data)
            assert not ctx.get(dut.good)
            for byte in zlib.crc32(data).to_bytes(4, "little"):
                ctx.set(dut.data, byte)
                await ctx.tick()
            assert ctx.get(dut.good)
            ctx.set(dut.enable, 0)

    simulate(dut, testbench, reset=reset)


def test_a_disabled_cycle_changes_nothing():
    dut = CRC32()

    async def testbench(ctx):
        ctx.set(dut.data, 77)
        await ctx.tick().repeat(5)
        assert ctx.get(dut.value) == 0

    simulate(dut, testbench)

"""Registers before a PHY: LiteDRAM's controller, told of their latency, reads what it wrote."""

import random

import pytest

from hw.boards import shell

pytestmark = pytest.mark.skipif(not shell.available(), reason="needs LiteX")

CLOCK_HZ = 50e6
WORDS = 12


def test_what_is_written_is_read():
    from litedram.core import LiteDRAMCore
    from litedram.modules import MT48LC16M16
    from litedram.phy.model import SDRAMPHYModel, get_sdram_phy_settings
    from migen import Module, passive, run_simulation

    from hw.boards.litex_phy import RegisteredPHY

    class Memory(Module):
        def __init__(self):
            chip = MT48LC16M16(CLOCK_HZ, "1:1")
            chip.geom_settings.rowbits = 1
            model = SDRAMPHYModel(chip, get_sdram_phy_settings(chip.memtype, 16, CLOCK_HZ), clk_freq=CLOCK_HZ)
            self.submodules.phy = RegisteredPHY(model)
            self.submodules.core = LiteDRAMCore(self.phy, chip.geom_settings, chip.timing_settings, CLOCK_HZ)
            self.port = self.core.crossbar.get_port()

    dut = Memory()
    port = dut.port
    draw = random.Random(1)
    words = {draw.randrange(1 << 12): draw.getrandbits(16) for _ in range(WORDS)}  # rows and banks at random
    found = []

    def command(write, address):
        yield port.cmd.we.eq(write)
        yield port.cmd.addr.eq(address)
        yield port.cmd.valid.eq(1)
        yield
        while not (yield port.cmd.ready):
            yield
        yield port.cmd.valid.eq(0)

    def drive():
        for address in words:
            yield from command(1, address)
        for address in words:
            yield from command(0, address)
        for _ in range(40):
            yield

    @passive
    def write():
        for word in words.values():
            yield port.wdata.data.eq(word)
            yield port.wdata.we.eq(3)
            yield port.wdata.valid.eq(1)
            yield
            while not (yield port.wdata.ready):
                yield
        yield port.wdata.valid.eq(0)

    @passive
    def read():
        yield port.rdata.ready.eq(1)
        while True:
            yield
            if (yield port.rdata.valid):
                found.append((yield port.rdata.data))

    run_simulation(dut, [drive(), write(), read()])
    assert found == list(words.values())

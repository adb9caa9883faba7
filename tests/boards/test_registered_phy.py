"""Registers before the ULX3S's PHY: LiteDRAM's controller, on the pins of an SDRAM, reads what it wrote."""

import random

import pytest

CLOCK_HZ = 50e6
CL = 2  # LiteDRAM's choice below 133 MHz
BURST = 2  # columns of a command, as LiteDRAM sets up an SDRAM at half rate
PINS = {"a": 13, "ba": 2, "ras_n": 1, "cas_n": 1, "we_n": 1, "dq": 16, "dm": 2}
COMMANDS = {(0, 1, 1): "activate", (0, 1, 0): "precharge", (1, 0, 0): "write", (1, 0, 1): "read"}  # RAS#, CAS#, WE#


def build(monkeypatch, *, registered):
    """Controller, PHY and its pins; the data pins have a signal for each direction."""
    from litedram.core import LiteDRAMCore
    from litedram.modules import MT48LC16M16
    from litedram.phy import gensdrphy
    from litex.build.io import SDROutput, SDRTristate
    from migen import Module, Record, Signal

    from hw.shell.litex_phy import RegisteredPHY

    class Memory(Module):
        def __init__(self):
            self.pads = pads = Record(list(PINS.items()))
            self.driven, self.read = Signal(16), Signal(16)
            tristates = []

            class Output(SDROutput):
                @staticmethod
                def lower(io):
                    register = Module()
                    register.sync.sys2x += io.o.eq(io.i)
                    return register

            class Tristate(SDRTristate):
                def __init__(self, **ports):
                    super().__init__(**ports)
                    self.bit = len(tristates)
                    tristates.append(self)

                @staticmethod
                def lower(io, memory=self):
                    register = Module()
                    register.sync.sys2x += [
                        pads.dq[io.bit].eq(io.o), memory.driven[io.bit].eq(io.oe), io.i.eq(memory.read[io.bit])
                    ]  # fmt: skip
                    return register

            monkeypatch.setattr(gensdrphy, "SDROutput", Output)
            monkeypatch.setattr(gensdrphy, "SDRTristate", Tristate)
            chip = MT48LC16M16(CLOCK_HZ, "1:2")
            phy = gensdrphy.HalfRateGENSDRPHY(pads, CLOCK_HZ)
            assert phy.settings.cl == CL
            self.submodules.phy = RegisteredPHY(phy) if registered else phy
            self.submodules.core = LiteDRAMCore(self.phy, chip.geom_settings, chip.timing_settings, CLOCK_HZ)
            self.port = self.core.crossbar.get_port()

    return Memory()


def sdram(dut, fault):
    """Every half of the controller's cycles: what the chip, clocked between two edges of ours, makes of the pins."""
    cells, rows, reads, writes = {}, {}, [], []
    while True:
        pads = {}
        for name in PINS:
            pads[name] = yield getattr(dut.pads, name)
        command = COMMANDS.get(tuple(pads[name] for name in ("ras_n", "cas_n", "we_n")))
        bank, column = pads["ba"], pads["a"] & 511
        if command == "activate":
            rows[bank] = pads["a"]
        elif command == "precharge":
            for closed in list(rows) if pads["a"] >> 10 & 1 else [bank]:
                rows.pop(closed, None)
        elif command and bank not in rows:
            fault.append(f"{command} of a closed row")
        elif command:
            burst = [(bank, rows[bank], column & ~1 | (column + beat) & 1) for beat in range(BURST)]
            if command == "write":
                writes = burst
            else:
                reads = [None] * (CL - 1) + burst
        if writes:
            if (yield dut.driven) != 0xFFFF:
                fault.append("nothing written")
            kept = sum(0xFF << 8 * lane for lane in range(2) if pads["dm"] >> lane & 1)
            at = writes.pop(0)
            cells[at] = cells.get(at, 0) & kept | pads["dq"] & ~kept
        at = reads.pop(0) if reads else None
        yield dut.read.eq(cells.get(at, 0xDEAD))
        yield


@pytest.mark.parametrize("registered", [False, True])
def test_what_is_written_is_read(registered, monkeypatch):
    """The memory that LiteDRAM's own PHY works with, with its data as late, is read through the registers too."""
    from migen import passive, run_simulation

    dut = build(monkeypatch, registered=registered)
    port, draw, found, fault = dut.port, random.Random(1), [], []
    words = {draw.randrange(1 << 23): draw.getrandbits(32) for _ in range(12)}  # rows and banks at random
    words |= {address ^ 1: draw.getrandbits(32) for address in list(words)[-4:]}  # and hits

    def drive():
        yield port.rdata.ready.eq(1)
        for write in (1, 0):
            for address in words:
                yield port.cmd.we.eq(write)
                yield port.cmd.addr.eq(address)
                yield port.cmd.valid.eq(1)
                yield
                while not (yield port.cmd.ready):
                    yield
                yield port.cmd.valid.eq(0)
        for _ in range(40):
            yield

    @passive
    def write():
        for word in words.values():
            yield port.wdata.data.eq(word)
            yield port.wdata.we.eq(15)
            yield port.wdata.valid.eq(1)
            yield
            while not (yield port.wdata.ready):
                yield
        yield port.wdata.valid.eq(0)

    @passive
    def read():
        while True:
            yield
            if (yield port.rdata.valid):
                found.append((yield port.rdata.data))

    run_simulation(
        dut, {"sys": [drive(), write(), read()], "sys2x": passive(sdram)(dut, fault)},
        clocks={"sys": (20, 10), "sys2x": (10, 5)},
    )  # fmt: skip
    assert fault == []
    assert found == list(words.values())

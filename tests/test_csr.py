"""The register bank behind AXI4-Lite: every register, byte strobes, errors, stalls, counters."""

import random

import pytest

from hw.csr import COUNTERS, Csr
from hw.spec.regs import MAGIC, REGS, Access, address
from tests.support.streams import simulate

FINGERPRINT = 0xCAFE1234
OKAY, SLVERR = 0, 2


class Host:
    """AXI4-Lite transactions with random delays; counters are swept like a CounterBank's."""

    def __init__(self, bench, *, seed=0, pressure=0.0):
        self.dut, self.bench, self.rng, self.pressure = (
            Csr(fingerprint=FINGERPRINT),
            bench,
            random.Random(seed),
            pressure,
        )
        self.cells = [self.rng.randrange(1 << 32) for _ in COUNTERS]
        self.cycle = 0
        self.strobes = []
        simulate(self.dut, self._run)

    async def _run(self, ctx):
        self.ctx = ctx
        await self.bench(self)

    def set(self, **values):
        for name, value in values.items():
            self.ctx.set(getattr(self.dut.bus, name), value)

    async def tick(self):
        slot = self.cycle % 32
        self.ctx.set(self.dut.slot, slot)
        self.ctx.set(self.dut.value, self.cells[slot] if slot < len(self.cells) else 0xBAD)
        bus = self.dut.bus
        names = ("awready", "wready", "bvalid", "bresp", "arready", "rvalid", "rdata", "rresp")
        _, _, control, *values = await self.ctx.tick().sample(self.dut.control, *(getattr(bus, n) for n in names))
        self.strobes += [int(control)] if control else []
        self.cycle += 1
        return dict(zip(names, map(int, values), strict=True))

    async def stall(self):
        while self.rng.random() < self.pressure:
            await self.tick()

    async def write(self, where, value, strobe=0xF):
        first, second = self.rng.choice([("aw", "w"), ("w", "aw"), ("both", None)])
        done = set()
        for channel in (first, second):
            await self.stall()
            if channel in ("aw", "both"):
                self.set(awvalid=1, awaddr=where)
            if channel in ("w", "both"):
                self.set(wvalid=1, wdata=value, wstrb=strobe)
            if channel is not None:
                done |= self._taken(await self.tick())
        assert done == {"aw", "w"}, "both were valid in the last cycle"
        await self.stall()
        self.set(bready=1)
        seen = await self._until("bvalid")
        self.set(bready=0)
        return seen["bresp"]

    async def _until(self, name):
        for _ in range(40):  # a sweep of the counters, and some
            seen = await self.tick()
            if seen[name]:
                return seen
        raise AssertionError(f"no {name}")

    def _taken(self, seen):
        taken = set()
        for channel in ("aw", "w"):
            if self.ctx.get(getattr(self.dut.bus, f"{channel}valid")) and seen[f"{channel}ready"]:
                self.set(**{f"{channel}valid": 0})
                taken.add(channel)
        return taken

    async def read(self, where):
        self.set(arvalid=1, araddr=where)
        await self._until("arready")
        self.set(arvalid=0)
        await self.stall()
        self.set(rready=1)
        seen = await self._until("rvalid")
        self.set(rready=0)
        return seen["rdata"], seen["rresp"]


@pytest.mark.parametrize("pressure", [0.0, 0.5])
def test_written_registers_read_back_and_drive_their_outputs(pressure):
    async def bench(host):
        written = [reg for reg in REGS if reg.access is Access.RW]
        values = dict.fromkeys((reg.name for reg in written), 0)
        for _ in range(80):
            reg = host.rng.choice(written)
            value, strobe = host.rng.randrange(1 << 32), host.rng.choice([0xF, 0xF, host.rng.randrange(16)])
            assert await host.write(address(reg.name) + host.rng.randrange(4), value, strobe) == OKAY
            mask = sum(0xFF << 8 * byte for byte in range(4) if strobe >> byte & 1) & (1 << reg.bits) - 1
            values[reg.name] = values[reg.name] & ~mask | value & mask
            await host.tick()
            for name, expected in values.items():
                assert int(host.ctx.get(getattr(host.dut, name))) == expected
            other = host.rng.choice(written)
            assert await host.read(address(other.name)) == (values[other.name], OKAY)

    Host(bench, pressure=pressure)


@pytest.mark.parametrize("pressure", [0.0, 0.5])
def test_read_only_registers(pressure):
    async def bench(host):
        values = {"magic": MAGIC, "fingerprint": FINGERPRINT, "control": 0}
        values |= dict(zip((reg.name for reg in COUNTERS), host.cells, strict=True))
        for reg in REGS:
            if reg.access is Access.RO and reg.name not in values:
                values[reg.name] = host.rng.randrange(1, 1 << min(reg.bits, 24))
                host.ctx.set(getattr(host.dut, reg.name), values[reg.name])
        for name, value in values.items():
            assert await host.read(address(name)) == (value, OKAY)
            if name != "control":
                assert await host.write(address(name), 0xFFFFFFFF) == SLVERR
                assert await host.read(address(name)) == (value, OKAY)
        assert not host.strobes

    Host(bench, pressure=pressure)


def test_unknown_addresses():
    async def bench(host):
        for where in (4 * len(REGS), 0x100, 0x400, 0xFFC):
            assert (await host.read(where))[1] == SLVERR
            assert await host.write(where, 0xFFFFFFFF) == SLVERR
        for reg in REGS:
            if reg.access is Access.RW:
                assert int(host.ctx.get(getattr(host.dut, reg.name))) == 0

    Host(bench)


def test_control_is_a_pulse_of_the_written_bits():
    async def bench(host):
        for value, strobe in ((1, 0xF), (2, 1), (3, 0xF), (3, 0xE), (0, 0xF)):
            assert await host.write(address("control"), value, strobe) == OKAY
        await host.tick()
        assert host.strobes == [1, 2, 3]

    Host(bench, pressure=0.4)

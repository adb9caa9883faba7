"""The control port's crossing: each access is made once and whole, or answered an error, whoever is reset when."""

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring

from hw.axi.crossing_reset import CrossingReset
from hw.axi.lite_crossing import LiteCrossing
from hw.axi.signature import AXILite
from tests.support.crossing import TwoClocks

RATIOS = (0.37, 0.8, 1.0, 1.25, 2.9)
REGISTERS, BAD = 16, 15  # accesses of the last one answer an error


class Crossing(wiring.Component):
    """`LiteCrossing` with the handshake that opens it, as `AxiCrossing` has it."""

    def __init__(self):
        super().__init__({"manager": wiring.In(AXILite()), "subordinate": wiring.Out(AXILite()), "hold": wiring.Out(1)})

    def elaborate(self, _platform):
        m = Module()
        m.submodules.reset = reset = CrossingReset()
        m.submodules.lite = lite = LiteCrossing()
        wiring.connect(m, wiring.flipped(self.manager), lite.manager)
        wiring.connect(m, lite.subordinate, wiring.flipped(self.subordinate))
        m.d.comb += [
            reset.drained.eq(1),
            lite.open.eq(reset.open & ~reset.drain),
            lite.hold.eq(reset.hold),
            self.hold.eq(reset.hold),
        ]
        return m


class Registers:
    """The core's side, which takes address and data in any order; its registers survive a reset."""

    def __init__(self, dut, clocks):
        self.dut, self.bus, self.random = dut, dut.subordinate, clocks.random
        self.values, self.writes = [0] * REGISTERS, []

    async def process(self, ctx):
        bus, draw, state = self.bus, self.random, {}
        names = ("awvalid", "awready", "awaddr", "wvalid", "wready", "wdata", "wstrb", "bvalid", "bready", "arvalid",
                 "arready", "araddr", "rvalid", "rready")  # fmt: skip
        async for _, reset, hold, *seen in ctx.tick("core").sample(
            self.dut.hold, *(getattr(bus, name) for name in names)
        ):
            at = dict(zip(names, seen, strict=True))
            if reset or hold:
                state = {}
                for name in ("awready", "wready", "arready", "bvalid", "rvalid"):
                    ctx.set(getattr(bus, name), 0)
                continue
            if at["awvalid"] and at["awready"]:
                state["address"] = at["awaddr"] // 4
            if at["wvalid"] and at["wready"]:
                state["data"] = at["wdata"]
                assert at["wstrb"] == 15
            if at["arvalid"] and at["arready"]:
                state["read"] = at["araddr"] // 4
            for channel in ("b", "r"):
                if at[f"{channel}valid"] and at[f"{channel}ready"]:
                    state = {}
                    ctx.set(getattr(bus, f"{channel}valid"), 0)
            ctx.set(bus.awready, "address" not in state and draw.random() < 0.6)
            ctx.set(bus.wready, "data" not in state and draw.random() < 0.6)
            ctx.set(bus.arready, "read" not in state and draw.random() < 0.6)
            if {"address", "data"} <= state.keys() and "answered" not in state and draw.random() < 0.5:
                state["answered"] = True
                self.values[state["address"]] = state["data"]
                self.writes.append((state["address"], state["data"]))
                ctx.set(bus.bresp, 2 * (state["address"] == BAD))
                ctx.set(bus.bvalid, 1)
            if "read" in state and "answered" not in state and draw.random() < 0.5:
                state["answered"] = True
                ctx.set(bus.rdata, self.values[state["read"]])
                ctx.set(bus.rresp, 2 * (state["read"] == BAD))
                ctx.set(bus.rvalid, 1)


async def access(ctx, clocks, bus, address, data=None):
    """One access; what was answered: the response and what was read, or nothing if ``sync`` was reset meanwhile."""
    channels = ("aw", "w") if data is not None else ("ar",)
    answer = "b" if data is not None else "r"
    ctx.set(bus.awaddr if data is not None else bus.araddr, 4 * address)
    ctx.set(bus.wdata, data or 0)
    ctx.set(bus.wstrb, 15)
    waiting = set(channels)
    for name in waiting:
        ctx.set(getattr(bus, f"{name}valid"), 1)
    signals = [getattr(bus, f"{answer}{name}") for name in ("valid", "ready", "resp")]
    signals += [bus.rdata, *(getattr(bus, f"{name}ready") for name in channels)]
    for _ in range(1000):
        ctx.set(getattr(bus, f"{answer}ready"), not waiting and clocks.random.random() < 0.5)
        reset, valid, taken, response, value, *went = await clocks.tick(ctx, "sync", *signals)
        for name, gone in zip(channels, went, strict=True):
            if gone or reset:
                waiting.discard(name)
                ctx.set(getattr(bus, f"{name}valid"), 0)
        if reset or (valid and taken):
            ctx.set(getattr(bus, f"{answer}ready"), 0)
            return None if reset else (response, value)
    raise AssertionError("an access was not answered in 1000 cycles")


def bench(ratio, seed):
    dut = Crossing()
    clocks = TwoClocks(dut, ratio=ratio, seed=seed)
    return dut, clocks, Registers(dut, clocks)


@pytest.mark.parametrize("ratio", RATIOS)
def test_accesses_cross(ratio):
    dut, clocks, registers = bench(ratio, seed=1)
    draw, wanted = clocks.random, [0] * REGISTERS

    async def main(ctx):
        await clocks.wait(ctx, 100)
        for _ in range(150):
            address = draw.randrange(REGISTERS)
            if draw.random() < 0.5:
                wanted[address] = draw.getrandbits(32)
                assert (await access(ctx, clocks, dut.manager, address, wanted[address]))[0] == 2 * (address == BAD)
            else:
                found = await access(ctx, clocks, dut.manager, address)
                assert found == (2 * (address == BAD), wanted[address])

    clocks.run(main, registers.process)
    assert registers.values == wanted


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("ratio", RATIOS)
def test_resets_in_the_middle(ratio, seed):
    """An access answered without an error was made; one with an error was made at most once; none is torn or late."""
    dut, clocks, registers = bench(ratio, seed)
    draw, asked, refused = clocks.random, [], 0

    async def main(ctx):
        nonlocal refused
        sure = {}  # register -> what it holds, if known
        for number in range(150):
            address, data = draw.randrange(BAD), number << 16 | draw.getrandbits(16)
            if draw.random() < 0.5:
                asked.append((address, data))
                found = await access(ctx, clocks, dut.manager, address, data)
                sure.pop(address, None)
                if found == (0, found and found[1]):
                    sure[address] = data
                    assert registers.values[address] == data
            else:
                found = await access(ctx, clocks, dut.manager, address)
                if found and found[0] == 0 and address in sure:
                    assert found[1] == sure[address]
            refused += bool(found and found[0])

    async def disturb(ctx):
        while True:
            await clocks.wait(ctx, draw.randrange(5, 150))
            await clocks.pulse(ctx, draw.choice(["core", "sync"]), draw.choice([1, 2, 5]))

    clocks.run(main, registers.process, disturb)
    assert set(registers.writes) <= set(asked)
    assert len(registers.writes) == len(set(registers.writes))
    assert 0 < refused < 120


def test_a_core_in_reset_answers_an_error():
    dut, clocks, registers = bench(1.25, seed=3)

    async def main(ctx):
        ctx.set(clocks.core.rst, 1)
        await clocks.wait(ctx, 100)
        assert (await access(ctx, clocks, dut.manager, 3))[0] == 2
        assert (await access(ctx, clocks, dut.manager, 3, 77))[0] == 2
        ctx.set(clocks.core.rst, 0)
        await clocks.wait(ctx, 100)
        assert (await access(ctx, clocks, dut.manager, 3)) == (0, 0)

    clocks.run(main, registers.process)


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("ratio", RATIOS)
def test_a_reset_forgets_the_access(ratio, written):
    """After a reset of ``sync`` in the middle of an access, nothing is answered before the next one asks for it."""
    dut, clocks, registers = bench(ratio, seed=4)
    bus, requests = dut.manager, ("awvalid", "wvalid") if written else ("arvalid",)

    async def main(ctx):
        ctx.set(bus.wstrb, 15)
        await clocks.wait(ctx, 100)
        for delay in range(20):
            for name in requests:
                ctx.set(getattr(bus, name), 1)
            await ctx.tick("sync").until(bus.awready if written else bus.arready)
            for name in requests:
                ctx.set(getattr(bus, name), 0)
            await clocks.wait(ctx, delay)
            await clocks.pulse(ctx, "sync", 1)
            for _ in range(60):
                _, *answers = await clocks.tick(ctx, "sync", bus.bvalid, bus.rvalid)
                assert answers == [0, 0]
            assert (await access(ctx, clocks, bus, 3)) == (0, registers.values[3])

    clocks.run(main, registers.process)

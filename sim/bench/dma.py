"""cocotb bench of the DMA engines: random transfers, stalls, bus errors, bad addresses and halts, on AXI4 pins.

The memory is cocotbext-axi's subordinate, which itself refuses bursts across 4 KiB. Sizes come in by environment
variables, as `sim.bench.dma_top.DmaTop` was built.
"""

import itertools
import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiBus, AxiSlave

from hw.spec import isa
from hw.spec.isa import Fault, Op, Region
from sim.bench.limit import END

WORD_BITS = int(os.environ["WORD_BITS"])
SCRATCH_WORDS = int(os.environ["SCRATCH_WORDS"])
BURST_BEATS = int(os.environ["BURST_BEATS"])
WORD_BYTES = WORD_BITS // 8
ENGINES = {"fetch": Op.FETCH, "load": Op.LOAD, "store": Op.STORE}
MEMORY_BYTES = 1 << 16
REGION_BYTES = 12288
BASES = {Region.MODEL: 0x0F40 // WORD_BYTES * WORD_BYTES, Region.WORK: 0x8F80 // WORD_BYTES * WORD_BYTES}


class Memory:
    """Target of the AXI model; addresses in `broken` answer SLVERR."""

    def __init__(self):
        self.bytes = bytearray(random.randbytes(MEMORY_BYTES))
        self.broken = range(0)

    async def read(self, address, length):
        self._check(address)
        return bytes(self.bytes[address : address + length])

    async def write(self, address, values):
        self._check(address)
        self.bytes[address : address + len(values)] = values

    def _check(self, address):
        if address in self.broken or not 0 <= address < MEMORY_BYTES:
            raise IndexError(address)

    def words(self, region):
        starts = range(BASES[region], BASES[region] + REGION_BYTES, WORD_BYTES)
        return [int.from_bytes(self.bytes[at : at + WORD_BYTES], "little") for at in starts]


def pauses(rng, probability, longest):
    """Idle spells of random length on a channel."""
    while True:
        yield from itertools.repeat(True, rng.randint(1, longest)) if rng.random() < probability else (False,)


class Bench:
    """The device under test, reset, with its memory, monitors and a sequencer's reaction to faults."""

    def __init__(self, dut, *, pressure):
        self.dut, self.rng, self.memory = dut, random.Random(random.random()), Memory()
        self.pressure = pressure
        self.started = dict.fromkeys(ENGINES, 0)
        self.retired = dict.fromkeys(ENGINES, 0)
        self.indices = {name: [] for name in ENGINES}
        self.faults, self.stream = [], []
        self.longest = 0

    async def start(self):
        dut = self.dut
        for name in ENGINES:
            self.pin(name, "issue__valid").value = 0
            self.pin(name, "halt").value = 0
        for name in ("program__ar__valid", "peek__request__valid", "poke__request__valid", "stream__ready"):
            getattr(dut, name).value = 0
        dut.program__r__ready.value = 1
        dut.rst.value = 1
        dut.regions.value = sum(
            (base | 3 | REGION_BYTES + 5 << 32) << 64 * region for region, base in BASES.items()
        )  # bits below a word mean nothing
        cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
        slave = AxiSlave(AxiBus.from_prefix(dut, "m_axi"), dut.clk, dut.rst, target=self.memory)
        for channel in (
            slave.write_if.aw_channel, slave.write_if.w_channel, slave.write_if.b_channel,
            slave.read_if.ar_channel, slave.read_if.r_channel,
        ):  # fmt: skip
            if self.pressure:
                channel.set_pause_generator(pauses(self.rng, self.pressure, 24))
        for _ in range(4):
            await RisingEdge(dut.clk)
        dut.rst.value = 0
        for name in ENGINES:
            cocotb.start_soon(self.watch(name))
        cocotb.start_soon(self.watch_bus())
        cocotb.start_soon(self.drain())

    def pin(self, engine, name):
        return getattr(self.dut, f"{engine}__{name}")

    async def watch(self, name):
        """Counts pulses, checks that the activity signals exclude each other, halts all engines after a fault."""
        while True:
            await RisingEdge(self.dut.clk)
            self.started[name] += int(self.pin(name, "started").value)
            self.retired[name] += int(self.pin(name, "retired").value)
            assert sum(int(self.pin(name, part).value) for part in ("busy", "wait_in", "wait_out")) <= 1
            if code := int(self.pin(name, "fault").value):
                self.faults.append((name, Fault(code), int(self.pin(name, "fault_index").value)))
                self.halt()

    def halt(self):
        for engine in ENGINES:
            self.pin(engine, "halt").value = 1

    async def watch_bus(self):
        """Held requests do not change, R is never refused, bursts have the promised form."""
        dut, held = self.dut, {}
        outstanding = {"fetch": 0, "load": 0, "store": 0}
        while True:
            await RisingEdge(dut.clk)
            for name, bursts in outstanding.items():
                assert not bursts or not int(self.pin(name, "quiet").value), name
            self._follow(outstanding)
            assert int(dut.m_axi_rready.value) or not int(dut.m_axi_rvalid.value)
            for channel, names in (("aw", ("addr", "len")), ("ar", ("addr", "len", "id")), ("w", ("data", "last"))):
                valid, ready = (int(getattr(dut, f"m_axi_{channel}{part}").value) for part in ("valid", "ready"))
                now = [int(getattr(dut, f"m_axi_{channel}{part}").value) for part in names]
                if channel in held:
                    assert valid, channel
                    assert held[channel] == now, channel
                held.pop(channel, None)
                if valid and not ready:
                    held[channel] = now
                if valid and channel != "w":
                    assert now[1] < BURST_BEATS
                    self.longest = max(self.longest, now[1] + 1)

    def _follow(self, outstanding):
        """Counts each engine's bursts that have begun on the pins and have not ended."""
        dut = self.dut
        readers = {1: "fetch", 2: "load"}
        if int(dut.m_axi_arvalid.value) and int(dut.m_axi_arready.value):
            outstanding[readers[int(dut.m_axi_arid.value)]] += 1
        if int(dut.m_axi_rvalid.value) and int(dut.m_axi_rlast.value):
            outstanding[readers[int(dut.m_axi_rid.value)]] -= 1
        outstanding["store"] += int(dut.m_axi_awvalid.value) and int(dut.m_axi_awready.value)
        outstanding["store"] -= int(dut.m_axi_bvalid.value) and int(dut.m_axi_bready.value)

    async def disturb(self):
        """Takes the scratchpad from the engines for long spells; its writes have an empty mask."""
        dut = self.dut
        bank = 0
        for busy in pauses(self.rng, 0.3, 90):
            dut.peek__request__valid.value = dut.poke__request__valid.value = int(busy)
            # a bank for some time, then another
            bank = self.rng.randrange(SCRATCH_WORDS) if self.rng.random() < 0.02 or not busy else bank
            dut.peek__request__payload.value = bank
            dut.poke__request__payload.value = bank
            await RisingEdge(dut.clk)

    async def drain(self):
        dut = self.dut
        while True:
            await RisingEdge(dut.clk)
            if int(dut.stream__valid.value) and int(dut.stream__ready.value):
                self.stream.append(int(dut.stream__payload.value))
            dut.stream__ready.value = int(self.rng.random() >= self.pressure)

    async def issue(self, name, index, **operands):
        word = int.from_bytes(isa.encode(ENGINES[name], **operands), "little")
        fields = word >> isa.OPCODE_BITS + isa.WAIT_BITS * len(isa.WAITED)
        payload = ENGINES[name] | fields << isa.OPCODE_BITS | index << isa.OPCODE_BITS + isa.OPERAND_BITS
        self.pin(name, "issue__payload").value = payload
        self.pin(name, "issue__valid").value = 1
        while True:
            await RisingEdge(self.dut.clk)
            if int(self.pin(name, "issue__ready").value):
                break
            if self.faults:
                break
        self.pin(name, "issue__valid").value = 0

    async def write_scratch(self, words):
        request = "poke__request__"
        bits = 16 + WORD_BITS
        for address, word in enumerate(words):
            payload = address | word << 16 | (1 << WORD_BYTES) - 1 << bits
            getattr(self.dut, request + "payload").value = payload
            getattr(self.dut, request + "valid").value = 1
            await RisingEdge(self.dut.clk)
        getattr(self.dut, request + "valid").value = 0

    async def read_scratch(self):
        words = []
        for address in range(SCRATCH_WORDS + 4):
            self.dut.peek__request__payload.value = address % SCRATCH_WORDS
            self.dut.peek__request__valid.value = int(address < SCRATCH_WORDS)
            await RisingEdge(self.dut.clk)
            if int(self.dut.peek__valid.value):
                words.append(int(self.dut.peek__data.value))
        assert len(words) == SCRATCH_WORDS
        return words

    async def until(self, condition, patience=20000):
        for _ in range(patience):
            if condition():
                return
            await RisingEdge(self.dut.clk)
        raise AssertionError(f"nothing happens: started {self.started}, retired {self.retired}, faults {self.faults}")

    def quiet(self):
        return all(int(self.pin(name, "quiet").value) for name in ENGINES)


def pairs(t):
    """(memory word, scratchpad word) of each word of a transfer, in order: the text of the ISA."""
    for k2, k1, k0 in itertools.product(range(t["count2"]), range(t["count1"]), range(t["run"])):
        yield (
            t["offset"] + k2 * t["offset2"] + k1 * t["offset1"] + k0,
            t["scratch"] + k2 * t["scratch2"] + k1 * t["scratch1"] + k0 * t["scratch0"],
        )


def random_transfer(rng, region, scratch_range):
    """A transfer that stays inside; sometimes with rows that touch, sometimes a long run."""
    while True:
        run = rng.choice((1, 2, 3, 5, 8, 17, 40, 100))
        t = {
            "region": region, "run": run, "count1": rng.randint(1, 5), "count2": rng.randint(1, 4),
            "offset": rng.randrange(REGION_BYTES // WORD_BYTES),
            "offset1": rng.choice((run, rng.randrange(200))), "offset2": rng.randrange(400),
            "scratch": rng.choice(scratch_range), "scratch0": rng.choice((0, 1, 1, 3)),
            "scratch1": rng.randrange(40), "scratch2": rng.randrange(40),
        }  # fmt: skip
        addresses = list(pairs(t))
        if (
            max(m for m, _ in addresses) < REGION_BYTES // WORD_BYTES
            and max(s for _, s in addresses) in scratch_range
            and len(addresses) <= 300
        ):
            return t


@cocotb.test(**END)
async def random_transfers(dut):
    """All engines at once; memory, scratchpad and stream end as the model's."""
    for_load, for_store = range(SCRATCH_WORDS // 2), range(SCRATCH_WORDS // 2, SCRATCH_WORDS)
    bench = Bench(dut, pressure=float(os.environ["PRESSURE"]))
    rng, memory = bench.rng, bench.memory
    await bench.start()
    scratch = [rng.getrandbits(WORD_BITS) for _ in range(SCRATCH_WORDS)]
    await bench.write_scratch(scratch)
    model, work = memory.words(Region.MODEL), memory.words(Region.WORK)
    untouched = bytes(memory.bytes)
    count = int(os.environ["TRANSFERS"])
    loads = [random_transfer(rng, Region.MODEL, for_load) for _ in range(count)]
    stores = [random_transfer(rng, Region.WORK, for_store) for _ in range(count)]
    fetches = []
    for _ in range(count):
        words = rng.choice((1, 2, 15, 64, 200))
        fetches.append({"region": Region.MODEL, "offset": rng.randrange(len(model) - words + 1), "words": words})

    expected = [word for t in fetches for word in model[t["offset"] : t["offset"] + t["words"]]]
    for t in loads:
        for m, s in pairs(t):
            scratch[s] = model[m]
    for t in stores:
        for m, s in pairs(t):
            work[m] = scratch[s]

    async def all_of(name, transfers):
        for index, t in enumerate(transfers):
            await bench.issue(name, index, **t)

    disturbance = cocotb.start_soon(bench.disturb()) if bench.pressure else None
    for name, transfers in (("load", loads), ("store", stores), ("fetch", fetches)):
        cocotb.start_soon(all_of(name, transfers))
    await bench.until(lambda: all(n == count for n in bench.retired.values()) and len(bench.stream) == len(expected))
    if disturbance:
        disturbance.cancel()
        dut.peek__request__valid.value = dut.poke__request__valid.value = 0
        for _ in range(4):
            await RisingEdge(dut.clk)
    assert bench.quiet()
    assert not bench.faults
    assert bench.longest == BURST_BEATS
    assert bench.stream == expected
    assert memory.words(Region.WORK) == work
    assert await bench.read_scratch() == scratch
    changed = bytearray(memory.bytes)
    low, high = BASES[Region.WORK], BASES[Region.WORK] + REGION_BYTES
    changed[low:high] = untouched[low:high]
    assert changed == untouched


TRANSFER = {"region": Region.MODEL, "run": 40, "count1": 2, "offset1": 100, "scratch0": 1, "scratch1": 50}


def _plain(name, **changes):
    if name == "fetch":
        return {"region": Region.MODEL, "offset": changes.get("offset", 0), "words": changes.get("words", 40)}
    region = Region.MODEL if name == "load" else Region.WORK
    return TRANSFER | {"offset": 0, "scratch": 0, "region": region} | {k: v for k, v in changes.items() if k != "words"}


async def _expect_fault(dut, name, fault, operands, broken=range(0), pressure=0.3):
    """A good instruction, then the bad one: only the bad one faults, everything becomes quiet, nothing is outside."""
    bench = Bench(dut, pressure=pressure)
    await bench.start()
    before = bytes(bench.memory.bytes)
    await bench.issue(name, 7, **_plain(name))
    await bench.until(lambda: bench.retired[name] == 1)
    bench.memory.broken = broken
    await bench.issue(name, 8, **operands)
    await bench.until(lambda: bench.faults)
    await bench.until(bench.quiet)
    for _ in range(100):
        await RisingEdge(dut.clk)
        assert bench.quiet()
    assert bench.faults == [(name, fault, 8)]
    assert bench.retired[name] == 1
    low, high = BASES[Region.WORK], BASES[Region.WORK] + REGION_BYTES
    assert bench.memory.bytes[:low] == before[:low]
    assert bench.memory.bytes[high:] == before[high:]


LIMIT = REGION_BYTES // WORD_BYTES


@cocotb.test(**END)
@cocotb.parametrize(name=list(ENGINES), offset=[LIMIT - 39, LIMIT, (1 << 28) - 1])
async def region_fault(dut, name, offset):
    await _expect_fault(dut, name, Fault.REGION_ADDRESS, _plain(name, offset=offset))


@cocotb.test(**END)
@cocotb.parametrize(name=["load", "store"], far=["offset1", "offset2"])
async def region_fault_by_stride(dut, name, far):
    await _expect_fault(dut, name, Fault.REGION_ADDRESS, _plain(name, **{far: (1 << 20) - 1, "count2": 2}))


@cocotb.test(**END)
@cocotb.parametrize(name=["load", "store"], far=["scratch", "scratch0", "scratch1", "scratch2"])
async def scratch_fault(dut, name, far):
    distance = {"scratch": SCRATCH_WORDS - 89, "scratch0": 4095, "scratch1": 65535, "scratch2": SCRATCH_WORDS - 89}[far]
    await _expect_fault(dut, name, Fault.SCRATCH_ADDRESS, _plain(name, **{far: distance, "count2": 2}))


@cocotb.test(**END)
@cocotb.parametrize(name=list(ENGINES), word=[0, 37])
async def bus_fault(dut, name, word):
    fault = Fault.BUS_WRITE if name == "store" else Fault.BUS_READ
    base = BASES[Region.WORK if name == "store" else Region.MODEL] + word * WORD_BYTES
    await _expect_fault(dut, name, fault, _plain(name), broken=range(base, base + 1))


@cocotb.test(**END)
@cocotb.parametrize(wait=[3, 9, 14, 20, 31, 60])
async def halt_finishes_bursts(dut, wait):
    """Halted at any moment, all engines end their bursts as AXI asks and then stay quiet; a reset revives them."""
    bench = Bench(dut, pressure=0.4)
    await bench.start()
    cocotb.start_soon(bench.disturb())
    for name in ENGINES:
        await bench.issue(name, 1, **_plain(name))
    for _ in range(wait):
        await RisingEdge(dut.clk)
    bench.halt()
    await RisingEdge(dut.clk)
    await bench.until(bench.quiet)
    retired = dict(bench.retired)
    for _ in range(60):
        await RisingEdge(dut.clk)
        assert bench.quiet()
        assert not int(dut.m_axi_arvalid.value)
        assert not int(dut.m_axi_awvalid.value)
        assert not int(dut.m_axi_wvalid.value)
    assert bench.retired == retired
    assert not bench.faults
    dut.rst.value = 1
    for name in ENGINES:
        bench.pin(name, "halt").value = 0
    await RisingEdge(dut.clk)
    dut.rst.value = 0
    for name in ENGINES:
        await bench.issue(name, 2, **_plain(name))
    await bench.until(lambda: all(bench.retired[name] == retired[name] + 1 for name in ENGINES))

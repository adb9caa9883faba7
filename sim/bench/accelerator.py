"""cocotb bench of the IP core: third-party AXI4-Lite and AXI4 models on the emitted Verilog."""

import itertools
import os
import random

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam, AxiResp

from hw.spec.isa import Fault, Region
from hw.spec.regs import MAGIC, REGS, Access, Control, State, address
from sim.bench.limit import END

PROGRAM = 0x8_0020
BASES = {region: 0x1_0000 + 0x1_0000 * region for region in Region}


class Bench:
    """The core, its registers and its memory, with random pauses on every channel."""

    def __init__(self, dut):
        self.dut = dut
        cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
        self.host = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
        self.ram = AxiRam(AxiBus.from_prefix(dut, "m_axi"), dut.clk, dut.rst, size=1 << 20)
        self.rng = random.Random(int(os.environ["BENCH_SEED"]))

    async def reset(self, *, pressure=0.0):
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 4)
        self.dut.rst.value = 0
        await ClockCycles(self.dut.clk, 4)
        if pressure:
            read, write = self.ram.read_if, self.ram.write_if
            channels = (read.ar_channel, read.r_channel, write.aw_channel, write.w_channel, write.b_channel)
            for channel in (*channels, self.host.write_if.b_channel, self.host.read_if.r_channel):
                channel.set_pause_generator(self.pauses(pressure))

    def pauses(self, pressure):
        for _ in itertools.count():
            yield self.rng.random() < pressure

    async def write(self, name, value):
        response = await self.host.write(address(name), int(value).to_bytes(4, "little"))
        return response.resp

    async def read(self, name):
        return int.from_bytes((await self.host.read(address(name), 4)).data, "little")

    async def load(self, program, regions):
        self.ram.write(PROGRAM, program)
        await self.write("program_base", PROGRAM)
        await self.write("program_length", len(program) // 32)
        await self.write("runs", 1)
        await self.write("interrupt_enable", 1)
        for region, content in regions.items():
            self.ram.write(BASES[region], content.tobytes())
            await self.write(f"{region.name.lower()}_base", BASES[region])
            await self.write(f"{region.name.lower()}_size", content.size)

    async def start(self):
        await self.write("control", Control.START)
        if not int(self.dut.interrupt.value):
            await with_timeout(RisingEdge(self.dut.interrupt), 2, "ms")
        return State(await self.read("status"))


def generated():
    """(program, regions before, regions after) that the test prepared."""
    with np.load(os.environ["BENCH_DATA"]) as arrays:
        before = {region: arrays[f"before_{region.name}"] for region in Region}
        return arrays["program"].tobytes(), before, {region: arrays[f"after_{region.name}"] for region in Region}


@cocotb.test(**END)
async def registers(dut):
    bench = Bench(dut)
    await bench.reset()
    assert await bench.read("magic") == MAGIC
    assert await bench.read("fingerprint") == int(os.environ["BENCH_FINGERPRINT"])
    for reg in REGS:
        if reg.access is Access.RW:
            value = bench.rng.randrange(1 << reg.bits)
            assert await bench.write(reg.name, value) == AxiResp.OKAY
            assert await bench.read(reg.name) == value
        elif reg.access is Access.RO:
            assert await bench.write(reg.name, 1) == AxiResp.SLVERR
    assert (await bench.host.read(4 * len(REGS), 4)).resp == AxiResp.SLVERR


async def run_once(bench):
    program, before, after = generated()
    await bench.load(program, before)
    assert await bench.start() is State.DONE
    assert await bench.read("fault_code") == Fault.NONE
    for region, content in after.items():
        assert bench.ram.read(BASES[region], content.size) == content.tobytes(), region.name


@cocotb.test(**END)
async def random_program(dut):
    bench = Bench(dut)
    await bench.reset()
    await run_once(bench)


@cocotb.test(**END)
async def random_program_under_pressure(dut):
    bench = Bench(dut)
    await bench.reset(pressure=0.4)
    await run_once(bench)


@cocotb.test(**END)
async def illegal_opcode_and_recovery(dut):
    bench = Bench(dut)
    await bench.reset()
    program, before, _ = generated()
    await bench.load(bytes(32) + program, before)
    assert await bench.start() is State.FAULT
    assert await bench.read("fault_code") == Fault.ILLEGAL_OPCODE
    assert (await bench.read("fault_index"), await bench.read("fault_engine")) == (0, 7)
    await bench.write("control", Control.RESET)
    await ClockCycles(dut.clk, 10)
    assert await bench.read("status") == State.IDLE
    assert not int(dut.interrupt.value)
    await run_once(bench)


@cocotb.test(**END)
async def reset_in_the_middle(dut):
    bench = Bench(dut)
    await bench.reset(pressure=0.2)
    program, before, _ = generated()
    await bench.load(program, before)
    await bench.write("control", Control.START)
    await ClockCycles(dut.clk, 700)
    assert await bench.read("status") == State.RUNNING
    await bench.write("control", Control.RESET)
    await ClockCycles(dut.clk, 1500)
    assert await bench.read("status") == State.IDLE
    await run_once(bench)

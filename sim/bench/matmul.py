"""cocotb bench of the MATMUL engine: runs a prepared program against a behavioural scratchpad.

`PROGRAM` names an .npz file with ``scratch`` (bytes before), ``expected`` (bytes after), ``stream`` (weight stream
words), ``operands`` (operand bits of the instructions, as bytes), ``maxima`` (row-maximum address, value), ``beats``.
`PRESSURE` is the probability of a stall, `LATENCY` the scratchpad's, `RATE` the least beats per cycle demanded.
"""

import os
import random

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge

from hw.spec.isa import OPCODE_BITS, Op
from sim.bench.limit import END

PRESSURE, LATENCY = float(os.environ["PRESSURE"]), int(os.environ["LATENCY"])
PATIENCE = 3000


class Bench:
    """The engine, driven after every rising edge and watched at the falling one, when its outputs have settled."""

    def __init__(self, dut):
        self.dut, self.data = dut, np.load(os.environ["PROGRAM"])
        self.scratch = bytearray(self.data["scratch"].tobytes())
        self.width = self.data["stream"].shape[1]
        self.words = [int.from_bytes(word.tobytes(), "little") for word in self.data["stream"]]
        self.operands = [int.from_bytes(bits.tobytes(), "little") for bits in self.data["operands"]]
        self.answers = [None] * LATENCY
        self.issued = self.taken = self.retired = self.cycle = 0
        self.beats, self.offered = [], False

    async def start(self):
        dut = self.dut
        for name in ("issue__valid", "stream__valid", "scratch_read__valid", "halt", "row_max_address"):
            getattr(dut, name).value = 0
        dut.scratch_read__request__ready.value = dut.scratch_write__request__ready.value = 0
        dut.rst.value = 1
        Clock(dut.clk, 10, unit="ns").start()
        for _ in range(3):
            await RisingEdge(dut.clk)
        dut.rst.value = 0

    def drive(self):
        dut = self.dut
        waiting = self.issued < len(self.operands)
        if waiting:
            bits = self.operands[self.issued] << OPCODE_BITS | int(Op.MATMUL)
            dut.issue__payload.value = bits
        dut.issue__valid.value = waiting
        self.offered = self.taken < len(self.words) and (self.offered or random.random() >= PRESSURE)
        dut.stream__valid.value = self.offered
        if self.offered:
            dut.stream__payload.value = self.words[self.taken]
        self.read_ready, self.write_ready = random.random() >= PRESSURE, random.random() >= PRESSURE
        dut.scratch_read__request__ready.value = self.read_ready
        dut.scratch_write__request__ready.value = self.write_ready
        answer = self.answers.pop(0)
        dut.scratch_read__valid.value = answer is not None
        dut.scratch_read__data.value = answer or 0

    def watch(self):
        dut, width = self.dut, self.width
        answer = None
        if self.read_ready and int(dut.scratch_read__request__valid.value):
            at = width * int(dut.scratch_read__request__payload.value)
            answer = int.from_bytes(self.scratch[at : at + width], "little")
        self.answers.append(answer)
        if self.write_ready and int(dut.scratch_write__request__valid.value):
            request = int(dut.scratch_write__request__payload.value)
            address, mask = request & 0xFFFF, request >> (16 + 8 * width)
            value = (request >> 16).to_bytes(10 * width, "little")
            for byte in range(width):
                if mask >> byte & 1:
                    self.scratch[address * width + byte] = value[byte]
        self.issued += self.issued < len(self.operands) and int(dut.issue__ready.value)
        if self.offered and int(dut.stream__ready.value):
            self.taken, self.offered = self.taken + 1, False
        if int(dut.beat.value):
            self.beats.append(self.cycle)
        self.retired += int(dut.retired.value)
        assert not int(dut.fault.value)
        self.cycle += 1


@cocotb.test(**END)
async def program(dut):
    bench = Bench(dut)
    await bench.start()
    progress, since = None, 0
    while bench.retired < len(bench.operands):
        bench.drive()
        await FallingEdge(dut.clk)
        bench.watch()
        await RisingEdge(dut.clk)
        now = bench.taken, len(bench.beats), bench.retired
        progress, since = now, since + 1 if now == progress else 0
        assert since < PATIENCE, f"nothing moves: {now}"
    assert bench.taken == len(bench.words)
    assert len(bench.beats) == int(bench.data["beats"])
    rate = len(bench.beats) / (bench.beats[-1] - bench.beats[0] + 1)
    assert rate >= float(os.environ["RATE"]), f"{rate:.4f} beats per cycle"
    different = np.flatnonzero(np.frombuffer(bytes(bench.scratch), np.uint8) != bench.data["expected"])
    assert not len(different), f"{len(different)} bytes differ, the first at {different[:4]}"
    for address, value in bench.data["maxima"]:
        dut.row_max_address.value = int(address)
        for _ in range(2):
            await RisingEdge(dut.clk)
        assert dut.row_max_data.value.to_signed() == value, f"maximum {address}"

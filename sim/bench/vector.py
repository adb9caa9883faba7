"""cocotb bench of the VECTOR engine: runs a prepared program between a scratchpad and a row-maximum RAM.

Environment: PROGRAM, a JSON file with ``word_bytes``, ``latency``, ``tokens``, ``stall`` (probability of a refused
access) and ``instructions``, each an issue payload, a row-maximum bank and its values; BEFORE and AFTER, NumPy files of
the scratchpad [word, byte]; REPORT, the JSON file to write: cycles of ``started`` and ``retired`` pulses and the number
of cycles of each performance counter.
"""

import json
import os
import random

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge

from sim.bench.limit import END

PATIENCE = 5000  # cycles without a retirement pulse or a granted access


class Bench:
    """The engine's surroundings: inputs change after the rising edge, outputs are sampled at the falling one."""

    def __init__(self, dut, program, memory):
        self.dut, self.program, self.memory = dut, program, memory
        self.rng = random.Random(1)
        self.bytes = program["word_bytes"]
        self.answers = [None] * program["latency"]
        self.report = {"started": [], "retired": [], "busy": 0, "wait_in": 0, "wait_out": 0}
        self.row_max_answer = 0
        self.maxima = (0, [])

    async def run(self):
        dut, instructions = self.dut, self.program["instructions"]
        cocotb.start_soon(Clock(dut.clk, 10, unit="ns").start())
        for port in ("issue__valid", "scratch_read__valid", "scratch_read__request__ready", "halt",
                     "scratch_write__request__ready"):  # fmt: skip
            getattr(dut, port).value = 0
        dut.rst.value = 1
        for _ in range(3):
            await RisingEdge(dut.clk)
        dut.rst.value = 0
        cycle = issued = idle = 0
        while len(self.report["retired"]) < len(instructions):
            self.drive(issued)
            await FallingEdge(dut.clk)
            moved = self.sample(cycle)
            issued += int(dut.issue__valid.value and dut.issue__ready.value)
            await RisingEdge(dut.clk)
            idle = 0 if moved else idle + 1
            assert idle < PATIENCE, f"nothing moved for {PATIENCE} cycles; {self.report}"
            cycle += 1
        return self.report

    def drive(self, issued):
        """Inputs of the cycle that has just begun."""
        dut, instructions = self.dut, self.program["instructions"]
        dut.issue__valid.value = int(issued < len(instructions))
        if issued < len(instructions):
            dut.issue__payload.value = int(instructions[issued]["issue"], 16)
        stall = self.program["stall"]
        dut.scratch_read__request__ready.value = int(self.rng.random() >= stall)
        dut.scratch_write__request__ready.value = int(self.rng.random() >= stall)
        answer = self.answers.pop(0)
        dut.scratch_read__valid.value = int(answer is not None)
        if answer is not None:
            dut.scratch_read__data.value = answer
        dut.row_max_data.value = self.row_max_answer

    def sample(self, cycle):
        """Outputs of the cycle, once settled; whether anything moved."""
        dut, report = self.dut, self.report
        assert not int(dut.fault.value), f"fault {int(dut.fault.value)} at {int(dut.fault_index.value)}"
        if dut.started.value:
            instruction = self.program["instructions"][len(report["started"])]
            self.maxima = instruction["row_max_bank"], instruction["row_max"]
            report["started"].append(cycle)
        if dut.retired.value:
            report["retired"].append(cycle)
        for counter in ("busy", "wait_in", "wait_out"):
            report[counter] += int(getattr(dut, counter).value)
        bank, row = divmod(int(dut.row_max_address.value), self.program["tokens"])
        known = bank == self.maxima[0] and row < len(self.maxima[1])
        self.row_max_answer = self.maxima[1][row] if known else 0

        reads = dut.scratch_read__request__valid.value and dut.scratch_read__request__ready.value
        writes = dut.scratch_write__request__valid.value and dut.scratch_write__request__ready.value
        word = None
        if reads:
            word = int.from_bytes(self.memory[int(dut.scratch_read__request__payload.value)].tobytes(), "little")
        self.answers.append(word)
        if writes:
            payload = int(dut.scratch_write__request__payload.value)
            address, data, mask = payload & 0xFFFF, payload >> 16, payload >> (16 + 8 * self.bytes)
            for byte in range(self.bytes):
                if mask >> byte & 1:
                    self.memory[address, byte] = data >> 8 * byte & 255
        return bool(reads or writes or dut.started.value or dut.retired.value)


@cocotb.test(**END)
async def runs_the_program(dut):
    with open(os.environ["PROGRAM"], encoding="ascii") as file:
        program = json.load(file)
    memory = np.load(os.environ["BEFORE"])
    report = await Bench(dut, program, memory).run()
    np.save(os.environ["AFTER"], memory)
    with open(os.environ["REPORT"], "w", encoding="ascii") as file:
        json.dump(report, file)

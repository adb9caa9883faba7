"""A scratchpad, a row-maximum RAM and an issuing sequencer around a VECTOR engine in Amaranth's simulator."""

import random
from dataclasses import dataclass, field

from hw.units.ports import INDEX_BITS
from tests.support.streams import simulate
from tests.support.vector_reference import operand_bits

__all__ = ["FIRST_INDEX", "Run", "run_program"]

FIRST_INDEX = (1 << INDEX_BITS) - 1000  # of a program's first instruction: a late one of a long program


@dataclass
class Run:
    """What happened: final memory, cycles of each pulse, counters, fault (code, index, cycle)."""

    memory: object
    started: list = field(default_factory=list)
    retired: list = field(default_factory=list)
    busy: list = field(default_factory=list)
    waits: list = field(default_factory=list)
    fault: tuple | None = None
    accesses_after_halt: int = 0

    def cycles(self, number):
        """Cycles of instruction `number`, from its start to its retirement, both included."""
        return self.retired[number] - self.started[number] + 1


def run_program(dut, program, *, stall=0.0, seed=0, patience=3000):
    """Issues all instructions one after the other and serves every port; `stall`: probability of a refused access."""
    rng = random.Random(seed)
    run = Run(program.before.copy())
    latency = dut.scratch_latency

    async def testbench(ctx):
        read, write = dut.scratch_read, dut.scratch_write
        answers = [None] * latency
        issued = cycle = idle = 0
        current, row_max = {}, None
        read_ready = write_ready = 0
        while len(run.retired) < len(program.instructions) and idle < patience:
            offer = issued < len(program.instructions) and run.fault is None
            ctx.set(dut.issue.valid, int(offer))
            if offer:
                op, operands, _ = program.instructions[issued]
                bits = operand_bits(op, operands)
                ctx.set(dut.issue.payload, {"op": int(op), "operands": bits, "index": FIRST_INDEX + issued})
            read_ready, write_ready = int(rng.random() >= stall), int(rng.random() >= stall)
            ctx.set(read.request.ready, read_ready)
            ctx.set(write.request.ready, write_ready)
            answer = answers.pop(0)
            ctx.set(read.valid, int(answer is not None))
            ctx.set(read.data, rng.getrandbits(8 * dut.rows) if answer is None else answer)
            ctx.set(dut.halt, int(run.fault is not None))
            halted = run.fault is not None
            (
                _, _, ready, started, retired, busy, wait_in, wait_out, fault, index, asked, address, writing, payload,
                row_address,
            ) = await ctx.tick().sample(
                dut.issue.ready, dut.started, dut.retired, dut.busy, dut.wait_in, dut.wait_out, dut.fault,
                dut.fault_index, read.request.valid, read.request.payload, write.request.valid, write.request.payload,
                dut.row_max_address,
            )  # fmt: skip
            assert busy + wait_in + wait_out <= 1
            run.accesses_after_halt += int(halted and (asked or writing))
            if asked and read_ready:
                answers.append(int.from_bytes(run.memory[address].tobytes(), "little"))
            else:
                answers.append(None)
            if writing and write_ready:
                data = payload.data.to_bytes(dut.rows, "little")
                for byte in range(dut.rows):
                    if payload.mask >> byte & 1:
                        run.memory[payload.address, byte] = data[byte]
            if started:
                _, current, row_max = program.instructions[len(run.started)]
                run.started.append(cycle)
            bank, row = divmod(row_address, dut.tokens)
            known = row_max is not None and bank == current.get("row_max") and row < len(row_max)
            ctx.set(dut.row_max_data, int(row_max[row]) if known else 0)
            if retired:
                run.retired.append(cycle)
            if fault:
                assert run.fault is None, "a second fault"
                run.fault = fault, index, cycle
            run.busy.append(busy)
            run.waits.append((wait_in, wait_out))
            issued += int(offer and ready)
            idle = 0 if busy or started or retired else idle + 1
            cycle += 1
            if run.fault is not None and cycle > run.fault[2] + 60:
                return

    simulate(dut, testbench)
    return run

"""The sequencer against behavioural engines and memory: order, thresholds, runs, faults, reset, and that it ends."""

import random
from collections import deque

import pytest

from hw.sequencer.sequencer import SEQUENCER, Sequencer
from hw.spec import isa
from hw.spec.isa import WAITED, Engine, Fault, Op, encode
from hw.spec.regs import State
from tests.support.streams import simulate

BASE = 0x4000_0060  # not a multiple of a burst


class World:
    """A sequencer, a memory that holds its program, and five engines that take random times."""

    def __init__(self, program, *, word_bits=64, depth=8, seed=0, runs=1, patience=8, slow=12, faults=None, errors=()):
        self.dut = Sequencer(
            word_bits=word_bits, queue_depth=depth, burst=max(1, min(4, depth // 4)), patience=patience
        )
        self.program, self.rng, self.runs, self.slow = b"".join(program), random.Random(seed), runs, slow
        self.faults = faults or {}  # index -> fault raised instead of retiring
        self.errors = errors  # beats of the program that answer an error
        self.stuck = set()  # engines that never accept
        self.room = 2  # instructions that an engine takes before it retires the first one
        self.log = []  # (cycle, "issue" or "retire", engine, index)
        self.waits = {}
        self.word_bytes = word_bits // 8
        self.pending = [deque() for _ in Engine]  # (index, cycles left)
        self.retired = dict.fromkeys(Engine, 0)
        self.reads = deque()  # [latency, address, beats left]
        self.cycle = 0
        self.clears = 0
        self.actions = {}  # cycle -> "start" or "reset"

    def set(self, ctx, name, value):
        ctx.set(getattr(self.dut, name), value)

    async def run(self, ctx):
        dut = self.dut
        for name, value in {
            "program_base": BASE,
            "program_length": len(self.program) // isa.INSTRUCTION_BYTES,
            "runs": self.runs,
            "input_base": 0x1234_5670,
            "input_step": 0x0101_0FF0,
            "output_base": 0xFFFF_FF00,
            "output_step": 0x80,
        }.items():
            self.set(ctx, name, value)
        for engine in dut.engines:
            ctx.set(engine.quiet, 1)
        sampled = [dut.status, dut.bus.ar.valid, dut.bus.ar.p, dut.bus.r.ready, dut.halt, dut.clear, dut.running]
        for engine in dut.engines:
            sampled += [engine.issue.valid, engine.issue.p]
        self.readies = [False] * len(Engine)
        idle = 0
        while idle < 20:
            self.drive(ctx)
            _, _, *values = await ctx.tick().sample(*sampled)
            self.observe(ctx, values)
            self.cycle += 1
            running = values[0] == State.RUNNING or self.cycle < max(self.actions, default=0) + 5
            idle = 0 if running else idle + 1
            assert self.cycle < 6000, "the sequencer hangs"
        self.result = {name: int(ctx.get(getattr(dut, name))) for name in (
            "status", "fault_code", "fault_engine", "fault_index", "input", "output"
        )}  # fmt: skip

    def drive(self, ctx):
        dut, rng = self.dut, self.rng
        self.set(ctx, "start", self.actions.get(self.cycle) == "start")
        self.set(ctx, "reset", self.actions.get(self.cycle) == "reset")
        self.ar_ready = rng.random() < 0.5
        ctx.set(dut.bus.ar.ready, self.ar_ready)
        ctx.set(dut.bus.r.valid, 0)
        if self.reads and self.reads[0][0] <= 0 and rng.random() < 0.7:
            _, address, left = self.reads[0]
            offset = address - BASE
            data = int.from_bytes(self.program[offset : offset + self.word_bytes], "little")
            error = offset // self.word_bytes in self.errors
            ctx.set(dut.bus.r.p, {"data": data, "error": error, "last": left == 1, "id": 0})
            ctx.set(dut.bus.r.valid, 1)
            self.reads[0] = [0, address + self.word_bytes, left - 1]
            if left == 1:
                self.reads.popleft()
        for number, engine in enumerate(dut.engines):
            queue = self.pending[number]
            done = bool(queue) and queue[0][1] <= 0
            index = queue[0][0] if queue else 0
            fault = self.faults.get(index, 0) if done else 0
            ctx.set(engine.retired, done and not fault)
            ctx.set(engine.fault, fault)
            if fault:
                ctx.set(engine.fault_index, index)
            ctx.set(engine.busy, bool(queue))
            if done:
                queue.popleft()
                if not fault:
                    self.log.append((self.cycle, "retire", Engine(number), index))
            for item in queue:
                item[1] -= 1
            self.readies[number] = number not in self.stuck and len(queue) < self.room and rng.random() < 0.6
            ctx.set(engine.issue.ready, self.readies[number])

    def observe(self, _ctx, values):
        self.status, ar_valid, ar, r_ready, halt, clear, _ = values[:7]
        assert r_ready
        for read in self.reads:
            read[0] -= 1
        if ar_valid and self.ar_ready:
            assert ar.address // 4096 == (ar.address + (ar.last + 1) * self.word_bytes - 1) // 4096
            assert ar.address >= BASE
            assert ar.address + (ar.last + 1) * self.word_bytes <= BASE + len(self.program)
            self.reads.append([self.rng.randrange(self.slow), int(ar.address), int(ar.last) + 1])
        if clear:
            assert not self.reads, "cleared while the bus was busy"
            self.clears += 1
            for queue in self.pending:
                queue.clear()
        for number in Engine:
            valid, issue = values[7 + 2 * number : 9 + 2 * number]
            if valid and self.readies[number]:
                assert not halt
                self.log.append((self.cycle, "issue", Engine(number), int(issue.index)))
                offset = int(issue.index) * isa.INSTRUCTION_BYTES
                word = int.from_bytes(self.program[offset : offset + isa.INSTRUCTION_BYTES], "little")
                assert issue.op == word & 31
                assert issue.operands == word >> 69
                self.pending[number].append([int(issue.index), self.rng.randrange(1, 3 * self.slow)])

    def start(self, **actions):
        self.actions = {3: "start"} | {int(k[1:]): v for k, v in actions.items()}
        simulate(self.dut, self.run)
        return self.result


def check_order(world, program, *, runs=1):
    """Between two barriers: each instruction once, in its engine's order, never before its thresholds."""
    decoded = [isa.decode(code) for code in program]
    segments = [[]]
    for index, op in enumerate(decoded):
        if isa.engine_of(op.op) is None:
            segments.append([])
        else:
            segments[-1].append(index)
    log = sorted(world.log, key=lambda event: (event[0], event[1] == "issue"))
    for segment in segments * runs:
        mine, log = log[: 2 * len(segment)], log[2 * len(segment) :]
        retired = dict.fromkeys(Engine, 0)
        issued = [[] for _ in Engine]
        for _, kind, engine, index in mine:
            if kind == "retire":
                retired[engine] += 1
                continue
            issued[engine].append(index)
            for other, count in decoded[index].waits.items():
                assert retired[other] >= count, f"instruction {index} was issued too early"
        for engine in Engine:
            assert issued[engine] == [n for n in segment if isa.engine_of(decoded[n].op) is engine]
    assert not log


def instruction(rng, op, waits):
    operands = {f.name: rng.randrange(1 << f.bits) + f.count for f in isa.OPERANDS[op]}
    return encode(op, waits, **operands)


def random_program(rng, size, *, syncs=True):
    """Thresholds are satisfiable: of what was issued before, at most all."""
    program, counts = [], dict.fromkeys(WAITED, 0)
    ops = [op for op in Op if op not in (Op.HALT, Op.SYNC)]
    for _ in range(size):
        if syncs and rng.random() < 0.08:
            program.append(encode(Op.SYNC))
            counts = dict.fromkeys(WAITED, 0)
            continue
        op = rng.choice(ops)
        waits = {e: rng.randrange(max(0, n - 3), n + 1) for e, n in counts.items() if rng.random() < 0.6}
        program.append(instruction(rng, op, waits))
        if isa.engine_of(op) in counts:
            counts[isa.engine_of(op)] += 1
    return [*program, encode(Op.HALT)]


@pytest.mark.parametrize(("word_bits", "depth"), [(64, 4), (64, 8), (128, 32), (256, 16)])
def test_random_programs_run_in_order(word_bits, depth):
    rng = random.Random(depth)
    program = random_program(rng, 60)
    world = World(program, word_bits=word_bits, depth=depth, seed=depth)
    result = world.start()
    assert (result["status"], result["fault_code"]) == (State.DONE, Fault.NONE)
    check_order(world, program)


@pytest.mark.parametrize("count", [8, 15])
def test_a_barrier_waits_for_all_that_an_engine_has_taken(count):
    """They are the engine's all at once, and last a while from then on."""
    rng = random.Random(count)
    program = [instruction(rng, Op.LOAD, {}) for _ in range(count)]
    program += [encode(Op.SYNC), instruction(rng, Op.STORE, {}), encode(Op.HALT)]
    world, most = World(program, depth=32, seed=count), 0
    world.room = count

    def hold(ctx, values, observe=world.observe):
        nonlocal most
        observe(ctx, values)
        queue = world.pending[Engine.LOAD]
        most = max(most, len(queue))
        if most < count:
            for item in queue:
                item[1] = 60

    world.observe = hold
    result = world.start()
    assert most == count
    assert (result["status"], result["fault_code"]) == (State.DONE, Fault.NONE)
    check_order(world, program)


def test_runs_move_the_bases():
    program = random_program(random.Random(1), 12)
    world = World(program, runs=3)
    result = world.start()
    assert result["status"] == State.DONE
    assert result["input"] == 0x1234_5670 + 2 * 0x0101_0FF0
    assert result["output"] == (0xFFFF_FF00 + 2 * 0x80) % (1 << 32)
    assert world.clears == 3
    check_order(world, program, runs=3)


def test_a_waiting_instruction_is_issued_a_latency_after_its_threshold():
    program = [
        instruction(random.Random(0), Op.LOAD, {}),
        instruction(random.Random(1), Op.MATMUL, {Engine.LOAD: 1}),
        encode(Op.HALT),
    ]
    world = World(program, word_bits=128, slow=40, seed=2)
    world.rng.random = lambda: 0.0  # nothing stalls
    world.start()
    (_, _, _, _), (retired, *_), (issued, *_), *_ = sorted(world.log)
    assert issued - retired == Sequencer.latency


def test_program_without_halt():
    program = random_program(random.Random(2), 10, syncs=False)[:-1]
    result = World(program).start()
    assert (result["status"], result["fault_code"]) == (State.FAULT, Fault.PROGRAM_END)
    assert (result["fault_engine"], result["fault_index"]) == (SEQUENCER, len(program))


@pytest.mark.parametrize("number", [0, 3, 31])
def test_illegal_opcode(number):
    program = random_program(random.Random(3), 9, syncs=False)
    program.insert(6, number.to_bytes(32, "little"))
    world = World(program)
    result = world.start()
    assert (result["status"], result["fault_code"]) == (State.FAULT, Fault.ILLEGAL_OPCODE)
    assert (result["fault_engine"], result["fault_index"]) == (SEQUENCER, 6)
    assert sorted(index for _, kind, _, index in world.log if kind == "retire") == list(range(6))
    assert sorted(index for _, kind, _, index in world.log if kind == "issue") == list(range(6))


@pytest.mark.parametrize("word", range(4))
def test_read_error_in_the_program(word):
    program = random_program(random.Random(3), 9, syncs=False)
    result = World(program, errors=(4 * 5 + word,)).start()
    assert (result["status"], result["fault_code"]) == (State.FAULT, Fault.BUS_READ)
    assert (result["fault_engine"], result["fault_index"]) == (SEQUENCER, 5)


@pytest.mark.parametrize("seed", range(3))
def test_an_engines_fault_stops_the_machine_and_it_starts_again(seed):
    program = random_program(random.Random(seed), 20)
    victim = next(n for n in range(7, 21) if isa.engine_of(isa.decode(program[n]).op) is not None)
    world = World(program, seed=seed, faults={victim: Fault.BUS_WRITE})
    result = world.start()
    assert (result["status"], result["fault_code"]) == (State.FAULT, Fault.BUS_WRITE)
    assert result["fault_engine"] == isa.engine_of(isa.decode(program[victim]).op)
    assert result["fault_index"] == victim
    halted = max(cycle for cycle, *_ in world.log)
    again = World(program, seed=seed, faults={victim: Fault.BUS_WRITE})
    again.actions = {}

    def heal(_ctx, values, observe=again.observe):
        observe(_ctx, values)
        if again.cycle == halted + 250:
            again.faults = {}
            again.log = []

    again.observe = heal
    result = again.start(**{f"c{halted + 260}": "start"})
    assert (result["status"], result["fault_code"]) == (State.DONE, Fault.NONE)
    check_order(again, program)


def test_of_two_faults_in_one_cycle_the_lowest_engine_wins():
    program = [instruction(random.Random(0), op, {}) for op in (Op.STORE, Op.ADD, Op.LOAD)] + [encode(Op.HALT)]
    world = World(program, faults={0: Fault.BUS_WRITE, 1: Fault.ILLEGAL_OPERAND, 2: Fault.BUS_READ})
    drive = world.drive

    def together(ctx):
        full = all(world.pending[e] for e in (Engine.LOAD, Engine.VECTOR, Engine.STORE))
        for queue in world.pending:
            for item in queue:
                item[1] = 0 if full else 99
        drive(ctx)

    world.drive = together
    result = world.start()
    assert (result["fault_code"], result["fault_engine"], result["fault_index"]) == (Fault.BUS_READ, Engine.LOAD, 2)


def stuck(op, waits):
    return instruction(random.Random(0), op, waits)


HALT = encode(Op.HALT)


@pytest.mark.parametrize(("program", "index"), [
    ([stuck(Op.ADD, {Engine.LOAD: 1}), HALT], 0),
    ([stuck(Op.LOAD, {Engine.STORE: 65535}), encode(Op.SYNC), HALT], 0),
    ([stuck(Op.ADD, {Engine.VECTOR: 1})] * 20 + [HALT], 0),
    ([stuck(Op.STORE, {}), stuck(Op.LOAD, {}), stuck(Op.STORE, {Engine.LOAD: 2}), stuck(Op.FETCH, {Engine.STORE: 9}),
      HALT], 2),
    ([stuck(Op.LOAD, {}), stuck(Op.ADD, {Engine.LOAD: 2}), stuck(Op.LOAD, {Engine.VECTOR: 1}), bytes(32)], 1),
    ([stuck(Op.LOAD, {}), encode(Op.SYNC), stuck(Op.STORE, {}), stuck(Op.LOAD, {Engine.LOAD: 1})], 3),  # no HALT
])  # fmt: skip
def test_a_threshold_that_never_comes_is_a_deadlock_at_the_first_that_does_not_retire(program, index):
    result = World(program, patience=6).start()
    assert (result["status"], result["fault_code"]) == (State.FAULT, Fault.DEADLOCK)
    assert (result["fault_engine"], result["fault_index"]) == (SEQUENCER, index)


@pytest.mark.parametrize("seed", range(12))
def test_reset_at_any_time_recovers(seed):
    program = random_program(random.Random(seed), 20)
    world = World(program, seed=seed)
    at = 4 + 17 * seed

    def forget(ctx, values, observe=world.observe):
        observe(ctx, values)
        if values[5]:
            world.log = []

    world.observe = forget
    stopped = World(program, seed=seed).start(**{f"c{at}": "reset"})
    assert stopped == stopped | {"status": State.IDLE, "fault_code": 0, "fault_index": 0}
    result = world.start(**{f"c{at}": "reset", f"c{at + 250}": "start"})
    assert result["status"] == State.DONE
    check_order(world, program)


@pytest.mark.parametrize("seed", range(8))
def test_any_words_end(seed):
    rng = random.Random(seed)
    legal = [op for op in Op if op is not Op.HALT]
    program = [
        (rng.randrange(1 << 256) & ~0x1F | (rng.choice(legal) if rng.random() < 0.8 else rng.randrange(32)))
        & (1 << 256) - 1
        for _ in range(20)
    ]
    if seed % 2:  # satisfiable more often
        program = [word & ~(((1 << 64) - 1) << 5) | (rng.randrange(2) << 5 + 16 * rng.randrange(4)) for word in program]
    result = World([word.to_bytes(32, "little") for word in program], patience=6, seed=seed).start()
    assert result["status"] in (State.DONE, State.FAULT)


def test_start_with_an_empty_program():
    result = World([]).start()
    assert (result["fault_code"], result["fault_index"]) == (Fault.PROGRAM_END, 0)

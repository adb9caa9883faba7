"""The whole machine, as compiled gateware: random programs equal the machine model, whatever the memory does."""

import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module
from amaranth.lib.wiring import connect

from hw.boards.memory import Memory
from hw.boards.registry import BOARDS
from hw.core import Core, core_units
from hw.sequencer import Sequencer
from hw.spec.isa import (
    INSTRUCTION_BYTES,
    OPERANDS,
    WAITED,
    Engine,
    Fault,
    Kind,
    Op,
    Region,
    decode_program,
    encode,
    engine_of,
)
from hw.spec.regs import Control, State
from hw.spec.vector import opcodes
from sim.machine import Machine, MachineFault
from sim.random_programs import random_program
from sim.rig import BASES, PROGRAM, Rig
from tests.support.streams import simulate

CONFIG = BOARDS["tiny"].config
DEFAULTS = {"random": 0, "interleave": 0, "latency": 21, "write_latency": 5, "row_miss": 11, "turnaround": 14,
            "refresh": Memory().refresh, "rate": 100, "outstanding": 16}  # fmt: skip
MEMORIES = {  # what each has other than that
    "dram": {},
    "fast": {"latency": 1, "write_latency": 1, "row_miss": 0, "turnaround": 0, "refresh": 0},
    "random": {"random": 1},
    "interleaved": {"random": 2, "interleave": 1, "latency": 40},
    "slow": {"random": 3, "rate": 20, "outstanding": 2},
}


@pytest.fixture(scope="module")
def rig():
    return Rig(CONFIG)


@pytest.fixture(params=MEMORIES)
def memory(rig, request):
    """The rig, with one of the memories; an ideal one afterwards."""
    rig.sim.configure(**DEFAULTS | MEMORIES[request.param])
    rig.sim.reset()
    yield rig
    rig.sim.configure(**DEFAULTS)
    rig.sim.reset()


def equal(rig, generated):
    for region, content in generated.after.items():
        differing = np.argwhere(rig.region(region) != content)
        assert not len(differing), f"{region.name} differs first at [word, byte] {differing[0].tolist()}"


@pytest.mark.parametrize("seed", range(30))
def test_random_programs_are_legal(seed):
    """No thresholds are missing, or every other test here would test the weather."""
    generated = random_program(CONFIG, seed)
    machine = Machine(CONFIG, {region: content.copy() for region, content in generated.before.items()}, check=True)
    machine.run(generated.program)
    assert not machine.hazards
    assert all((machine.regions[region] == content).all() for region, content in generated.after.items())


def test_random_programs_use_every_instruction():
    """And those that write two byte planes with and without them, into other places and that of their source."""
    found, planes = set(), set()
    for seed in range(60):
        for instruction in decode_program(random_program(CONFIG, seed).program):
            op, o = instruction.op, instruction.operands
            found.add(op)
            if op is Op.MATMUL:
                planes.add(o["kind"])
            elif "planes" in o:
                planes.add((op.name, o["planes"], o["source"] == o["dest"]))
    assert found == set(opcodes(CONFIG.vector))
    in_place = {(name, flag, True) for name in ("SHIFT_GELU", "TABLE") for flag in (0, 1)}
    names = ("LAYER_NORM", "SHIFT_GELU", "SHIFTMAX", "TABLE")
    assert planes == {*Kind, *in_place, *((name, flag, False) for name in names for flag in (0, 1))}


@pytest.mark.parametrize("first", range(0, 60, 10))
def test_random_programs(memory, first):
    for seed in range(first, first + 10):
        generated = random_program(CONFIG, seed, groups=20)
        memory.load(generated.program, generated.before)
        assert memory.start() is State.DONE, (seed, memory.fault())
        equal(memory, generated)


@pytest.mark.parametrize("settings", [
    {"queue_depth": 8, "burst_beats": 4}, {"queue_depth": 16, "burst_beats": 8}, {"rows": 16, "burst_beats": 4},
    {"rows": 32, "burst_beats": 4}, {"queue_depth": 4, "burst_beats": 4}, {"stream_words": 256, "burst_beats": 256},
], ids=str)  # fmt: skip
def test_the_programs_bursts_are_as_long_as_the_config_allows(settings):
    config = replace(CONFIG, **settings)
    sequencer = Sequencer(word_bits=config.word_bits, queue_depth=config.queue_depth, burst=config.program_burst)
    longest = []

    async def bench(ctx):
        ctx.set(sequencer.program_length, 64)
        ctx.set(sequencer.start, 1)
        ctx.set(sequencer.bus.ar.ready, 1)
        for engine in sequencer.engines:
            ctx.set(engine.quiet, 1)
        (request,) = await ctx.tick().sample(sequencer.bus.ar.p).until(sequencer.bus.ar.valid)
        longest.append(int(request.last) + 1)

    simulate(sequencer, bench)
    assert longest == [config.program_burst * INSTRUCTION_BYTES // config.word_bytes]
    assert longest[0] <= config.burst_beats


def test_units_are_as_many_as_is_said():
    """So many of each are made for a core, whose area is their sum."""
    config, made = replace(CONFIG, slices=2), Counter()

    class Counted(Core):
        def _make(self, name, **others):
            made[name] += 1
            return super()._make(name, **others)

    rtlil.convert(Counted(config), name="core", emit_src=False)
    assert made == {name: count for name, (_, _, count) in core_units(config).items()}


def test_counters(rig):
    generated = random_program(rig.config, 5, groups=30)
    rig.load(generated.program, generated.before)
    rig.start()
    ops = decode_program(generated.program)
    counters = rig.counters()
    assert counters["instructions"] == sum(engine_of(op.op) is not None for op in ops)
    beats = 0
    for op in ops:
        if op.op is Op.MATMUL:
            o = op.operands
            tiles = -(-o["outputs"] // rig.config.cols)
            beats += tiles * o["passes"] * (1 + o["two_planes"]) * o["rows"]
    assert counters["beats"] == counters["matmul_busy"] == beats
    words = sum(op.operands.get("words", 0) for op in ops)
    assert counters["fetch_busy"] == words
    moved = {op: sum(i.operands["run"] * i.operands["count1"] * i.operands["count2"] for i in ops if i.op is op)
             for op in (Op.LOAD, Op.STORE)}  # fmt: skip
    assert (counters["load_busy"], counters["store_busy"]) == (moved[Op.LOAD], moved[Op.STORE])
    for engine in Engine:
        parts = [counters[f"{engine.name.lower()}_{part}"] for part in ("busy", "wait_in", "wait_out")]
        assert sum(parts) <= counters["cycles"]
    intervals = [pair for engine in rig.sim.intervals() for pair in engine]
    assert len(intervals) == counters["instructions"]
    assert max(end for _, end in intervals) - min(start for start, _ in intervals) < counters["cycles"]
    again = counters
    assert rig.counters() == again


@pytest.mark.parametrize("memory", ["fast"], indirect=True)
def test_instructions_that_retire_together_are_all_counted(memory):
    """Of two engines; LOADs of so many lengths that one of them ends when the MOMENTS beside it does."""
    move = {"scratch": 0, "scratch0": 1, "count1": 1, "offset1": 0, "scratch1": 0, "count2": 1, "offset2": 0,
            "scratch2": 0, "offset": 0}  # fmt: skip
    moments = encode(Op.MOMENTS, source=240, source_row=1, rows=1, length=8, stats=0, wide_source=0)
    content = {Region.INPUT: np.zeros((256, CONFIG.word_bytes), np.uint8)}
    together = 0
    for run in range(160, 190):
        memory.load(encode(Op.LOAD, region=Region.INPUT, run=run, **move) + moments + encode(Op.HALT), content)
        assert memory.start() is State.DONE
        assert memory.counters()["instructions"] == 2
        intervals = memory.sim.intervals()
        together += intervals[Engine.LOAD][0][1] == intervals[Engine.VECTOR][0][1]
    assert together


@pytest.mark.parametrize("settings", [{}, {"slices": 2}, {"slices": 3, "stream_words": 128}], ids=str)
def test_the_weight_stream_holds_what_the_config_says(settings):
    """FETCH takes so many words ahead of engines that take none, and no more."""
    config, top, arrived = replace(CONFIG, **settings), Module(), 0
    most, units = config.stream_words + config.ahead_words, core_units(config)
    for name in ("fetch", "weights"):
        if name in units:
            kind, parameters, _ = units[name]
            top.submodules[name] = kind(**parameters)
    fetch = top.submodules.fetch
    if "weights" in units:
        connect(top, fetch.stream, top.submodules.weights.i)

    async def bench(ctx):
        nonlocal arrived
        ctx.set(fetch.regions, [{"base": 0, "size": 1 << 20}] * 4)
        ctx.set(fetch.issue.p.op, Op.FETCH)  # and operands of zeros: of one word
        ctx.set(fetch.issue.valid, 1)
        ctx.set(fetch.bus.ar.ready, 1)
        ctx.set(fetch.bus.r.p.last, 1)
        for _ in range(20 * most):
            _, _, asked = await ctx.tick().sample(fetch.bus.ar.valid)
            ctx.set(fetch.bus.r.valid, asked)
            arrived += asked

    simulate(top, bench)
    assert arrived == most


def test_runs_move_input_and_output(rig):
    word = CONFIG.word_bytes
    copy = {"scratch": 5, "run": 4, "scratch0": 1, "count1": 1, "offset1": 0, "scratch1": 0, "count2": 1, "offset2": 0,
            "scratch2": 0, "offset": 1}  # fmt: skip
    program = (
        encode(Op.LOAD, region=Region.INPUT, **copy)
        + encode(Op.STORE, {Engine.LOAD: 1}, region=Region.OUTPUT, **copy)
        + encode(Op.HALT)
    )
    data = np.random.default_rng(0).integers(0, 256, (40, word)).astype(np.uint8)
    rig.load(program, {Region.INPUT: data, Region.OUTPUT: np.zeros((60, word), np.uint8)}, runs=3)
    rig.write(input_step=6 * word, output_step=10 * word)
    assert rig.start() is State.DONE
    result = rig.region(Region.OUTPUT)
    expected = np.zeros_like(result)
    for run in range(3):
        expected[10 * run + 1 : 10 * run + 5] = data[6 * run + 1 : 6 * run + 5]
    assert (result == expected).all()


FAULTS = {
    "illegal opcode": (bytes(32), Fault.ILLEGAL_OPCODE, "sequencer"),
    "too many rows": (
        encode(Op.MOMENTS, source=0, source_row=1, rows=CONFIG.tokens + 1, length=8, stats=0, wide_source=0),
        Fault.ILLEGAL_OPERAND, "VECTOR",
    ),
    "outside the scratchpad": (
        encode(Op.MOMENTS, source=CONFIG.scratch_words - 1, source_row=1, rows=4, length=8, stats=0, wide_source=0),
        Fault.SCRATCH_ADDRESS, "VECTOR",
    ),
    "outside the region": (encode(Op.FETCH, region=1, offset=1 << 27, words=5), Fault.REGION_ADDRESS, "FETCH"),
    "never satisfied": (encode(Op.FETCH, {Engine.STORE: 99}, region=0, offset=0, words=5), Fault.DEADLOCK, "sequencer"),
}  # fmt: skip


@pytest.mark.parametrize("what", FAULTS)
def test_faults_stop_the_machine_and_it_recovers(rig, what):
    code, fault, engine = FAULTS[what]
    generated = random_program(rig.config, 7, groups=4)
    program = generated.program[:-INSTRUCTION_BYTES] + code + encode(Op.HALT)
    index = len(program) // INSTRUCTION_BYTES - 2
    rig.load(program, generated.before)
    assert rig.start() is State.FAULT
    code, who, where = rig.fault()
    assert (code, who, where) == (fault, engine, index)
    rig.load(generated.program, generated.before)
    assert rig.start() is State.DONE
    equal(rig, generated)


def users(generated, region):
    """The opcodes that name the region."""
    found = decode_program(generated.program)
    return {each.op.name for each in found if region is not None and each.operands.get("region") == region}


@pytest.mark.parametrize(("region", "fault", "engine"), [
    (Region.INPUT, Fault.BUS_READ, "LOAD"), (Region.MODEL, Fault.BUS_READ, "FETCH"),
    (Region.WORK, Fault.BUS_WRITE, "STORE"), (None, Fault.BUS_READ, "sequencer"),
])  # fmt: skip
def test_bus_errors(rig, region, fault, engine):
    """Of the only engine that uses the region, or a word of the program."""
    generated = next(
        found for seed in range(100) if users(found := random_program(rig.config, seed, groups=12), region) <= {engine}
    )
    rig.load(generated.program, generated.before)
    base = PROGRAM + 32 * 9 if region is None else BASES[region]
    size = 8 if region is None else rig.sizes[region]
    rig.sim.configure(error_base=base, error_size=size)
    assert rig.start() is State.FAULT
    code, who, index = rig.fault()
    assert (code, who) == (fault, engine)
    assert region is not None or index == 9
    rig.sim.configure(error_size=0)
    rig.load(generated.program, generated.before)
    assert rig.start() is State.DONE
    equal(rig, generated)


@pytest.mark.parametrize("seed", range(40))
def test_reset_in_the_middle(rig, seed):
    reset_after(rig, seed, 30 + 211 * seed)


def reset_after(rig, seed, cycles):
    """Of a random program, under stalls; the next run of it is as if there had been none."""
    rig.sim.configure(random=seed + 1, latency=5 + seed)
    rig.sim.reset()
    generated = random_program(rig.config, seed, groups=8)
    rig.load(generated.program, generated.before)
    rig.write(control=Control.START)
    rig.sim.run(cycles)
    rig.write(control=Control.RESET)
    rig.sim.run(400)
    assert rig.read("status") == State.IDLE
    assert not any(rig.counters().values())
    rig.load(generated.program, generated.before)
    assert rig.start() is State.DONE
    equal(rig, generated)


@pytest.mark.parametrize("seed", range(40))
def test_any_words_end(rig, seed):
    """Random operands of random opcodes: something is refused, or all of it is executed; nothing hangs."""
    rng = random.Random(seed)
    words = []
    for _ in range(12):
        op = rng.choice([op for op in Op if op is not Op.HALT])
        word = rng.randrange(1 << 187) << 69 | op
        if rng.random() < 0.5:  # small numbers, which go further
            word &= sum(rng.choice((7, 63, 255)) << at for at in range(69, 256, 12)) | 31
        words.append(word.to_bytes(INSTRUCTION_BYTES, "little"))
    generated = random_program(CONFIG, 1, groups=1)
    rig.load(b"".join(words) + encode(Op.HALT), generated.before)
    assert rig.start(3_000_000) in (State.DONE, State.FAULT)
    rig.load(generated.program, generated.before)
    assert rig.start() is State.DONE
    equal(rig, generated)


def _tangle(rng, often):
    """Small transfers and products whose thresholds and stream words may never come, or not in the room there is."""
    words = CONFIG.stream_words
    op = rng.choice((Op.FETCH, Op.FETCH, Op.MATMUL, Op.MATMUL, Op.LOAD, Op.STORE, Op.ADD, Op.MOMENTS, Op.SYNC))
    if op is Op.SYNC:
        return encode(Op.SYNC) if rng.random() < 0.3 else bytes(32) if rng.random() < 0.1 else _tangle(rng, often)
    waits = {other: rng.randrange(1, 4) for other in WAITED if rng.random() < often}
    operands = {field.name: int(field.count) for field in OPERANDS[op]}
    for name in ("source", "dest", "identity", "scratch"):
        if name in operands:
            operands[name] = rng.randrange(256) * (CONFIG.word_bytes if (op, name) == (Op.MATMUL, "dest") else 1)
    if op is Op.FETCH:
        operands |= {"words": rng.choice((4, 8, 12, rng.randrange(1, 2 * words)))}
    if op is Op.MATMUL:
        operands |= {"outputs": rng.randrange(1, 9), "passes": rng.randrange(1, 9), "mult": 1}
    return encode(op, waits, **operands)


def test_deadlocks_are_the_machine_models(rig):
    """The same end, and of a fault the same code, engine and instruction: the first one that has not retired."""
    content = {region: np.zeros((200, rig.config.word_bytes), np.uint8) for region in Region}
    found = Counter()
    for seed in range(90):
        rng = random.Random(seed)
        size, often = rng.choice((3, 8, 90)), rng.choice((0.0, 0.02, 0.2))
        program = b"".join(_tangle(rng, often) for _ in range(size)) + encode(Op.HALT) * (seed % 3 > 0)
        expected = (State.DONE, Fault.NONE)
        try:
            Machine(rig.config, {region: words.copy() for region, words in content.items()}).run(program, PROGRAM)
        except MachineFault as fault:
            engine = Engine(fault.engine).name if fault.engine < len(Engine) else "sequencer"
            expected = (State.FAULT, fault.fault, engine, fault.index)
        rig.load(program, content)
        state = rig.start(1_000_000)
        assert (state, *(rig.fault() if state is State.FAULT else (Fault.NONE,))) == expected, seed
        found[expected[1]] += 1
    assert found[Fault.DEADLOCK] > 20
    assert min(found[kind] for kind in (Fault.NONE, Fault.PROGRAM_END, Fault.REGION_ADDRESS)) > 0, found

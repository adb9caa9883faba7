# amaranth: UnusedElaboratable=no
"""MATMUL: random programs equal the laws, at full speed and under stalls; rate; faults; halt."""

from dataclasses import replace

import numpy as np
import pytest
from amaranth.hdl import Signal

from hw.boards.registry import BOARDS
from hw.matmul.engine import MatmulEngine
from hw.spec.isa import Fault, Op
from tests.support.cocotb import run_bench
from tests.support.matmul import Machine, beats_of, issue_bits, prepare, program, run_engine
from tests.support.streams import PRESSURES, reset_and_silent, simulate

SMALL = replace(BOARDS["tiny"].config, rows=8, cols=4, tokens=16, banks=2, bank_words=512)


def engine(config, latency=3, number=0):
    return MatmulEngine(
        rows=config.rows, cols=config.cols, tokens=config.tokens, drain_lanes=config.drain_lanes,
        row_max_banks=config.row_max_banks, scratch_words=config.scratch_words, mapping=config.array,
        scratch_latency=latency, number=number,
    )  # fmt: skip


def check(config, instructions, *, latency=3, **how):
    """Executes on both sides and compares everything; returns the engine's log."""
    machine = Machine(config, seed=how.get("seed", 0))
    for operands in instructions:
        machine.execute(operands)
    encoded = [(Op.MATMUL, issue_bits(operands)) for operands in instructions]
    log = run_engine(engine(config, latency), config, machine, encoded, latency=latency, **how)
    different = np.flatnonzero(log["scratch"] != machine.scratch)
    assert not len(different), f"{len(different)} bytes differ, the first at {different[:4]}"
    assert log["row_max"] == machine.row_max
    assert log["fault"] is None
    assert log["stream_left"] == 0
    assert log["started"] == len(log["retired"]) == len(instructions)
    assert len(log["beats"]) == log["busy"] == sum(beats_of(operands, config) for operands in instructions)
    return log


@pytest.mark.parametrize("pressure", PRESSURES)
@pytest.mark.parametrize("seed", range(3))
def test_random_programs(pressure, seed):
    check(SMALL, program(SMALL, 10, seed), pressure=pressure, seed=seed, latency=2 + seed % 2)


@pytest.mark.parametrize("cycles", [1, 5, 20])
def test_a_reset_forgets_instructions_that_wait(cycles):
    """Of three, issued while no read is granted; none of them is read for, or written, afterwards."""
    dut, reset = engine(SMALL), Signal()

    async def bench(ctx):
        ctx.set(dut.issue.p, {"op": Op.MATMUL, "operands": issue_bits(dense(SMALL)), "index": 0})
        ctx.set(dut.issue.valid, 1)
        await ctx.tick().repeat(10 + cycles)
        assert ctx.get(dut.scratch_read.request.valid)
        ctx.set(dut.issue.valid, 0)
        ctx.set(dut.scratch_read.request.ready, 1)
        await reset_and_silent(ctx, reset, 60, dut.scratch_read.request.valid, dut.scratch_write.request.valid)
        assert ctx.get(dut.issue.ready)
        assert ctx.get(dut.quiet)

    simulate(dut, bench, reset=reset)


@pytest.mark.parametrize(
    "shape",
    [
        {"cols": 6, "drain_lanes": 1},
        {"cols": 4, "drain_lanes": 4},
        {"cols": 2, "drain_lanes": 2, "rows": 16},
    ],
    ids=str,
)
def test_other_shapes(shape):
    config = replace(SMALL, **shape)
    check(config, program(config, 6, 11), pressure=0.3, seed=11)


def dense(config, **changes):
    """A large int8 instruction whose result does not overlap its source."""
    operands = {
        "source": 0, "source_row": 4, "source_plane": 128, "rows": config.tokens, "passes": 4, "two_planes": 0,
        "outputs": 5 * config.cols, "dest": config.scratch_bytes // 2, "dest_row": 6 * config.cols, "dest_col": 0,
        "kind": 0, "transpose": 0, "per_channel": 1, "mult": 1 << 30, "shift": 40, "track_max": 1, "row_max": 1,
    }  # fmt: skip
    return operands | changes


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"rows": 4, "per_channel": 0},  # every pass is as short as its weights are many
        {"passes": 2, "two_planes": 1},  # the drain just keeps up: 4 outputs in 2 cycles
        {"passes": 2, "rows": 16, "outputs": 60, "dest_row": 60, "per_channel": 0},
        {"passes": 1, "two_planes": 1, "rows": 8, "per_channel": 0},
    ],
    ids=str,
)
def test_no_gaps(shape):
    """With memory and stream that never stall, array beats follow each other, across tiles and instructions too."""
    instructions = [dense(SMALL, **shape), dense(SMALL, **shape, row_max=2), dense(SMALL, **shape)]
    log = check(SMALL, instructions)
    first, last = log["beats"][0], log["beats"][-1]
    assert len(log["beats"]) >= 0.99 * (last - first + 1)
    assert log["wait_out"] == 0


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("rows", [1, 3, 5])
def test_transposed_results_of_a_later_slice(number, rows):
    """They begin where those of the slices before it end, within a word; others are where they are without slices."""
    word, half = SMALL.rows, SMALL.scratch_bytes // 2
    instructions = [
        dense(SMALL, rows=rows, transpose=1, track_max=0, outputs=6, passes=1, dest=half + 64 * at + at, dest_row=1,
              dest_col=16)
        for at in range(word)
    ] + [dense(SMALL, rows=rows, outputs=6, passes=1, dest=half + 64 * 40 + 3, dest_row=9)]  # fmt: skip
    machine = Machine(SMALL)
    for o in instructions:
        low = (o["dest"] + number * rows) % word if o["transpose"] else o["dest"] % word
        machine.execute(o | {"dest": o["dest"] // word * word + low})
    encoded = [(Op.MATMUL, issue_bits(o)) for o in instructions]
    log = run_engine(engine(SMALL, number=number), SMALL, machine, encoded)
    assert np.array_equal(log["scratch"], machine.scratch)


def test_slow_drain_waits_for_room():
    """One pass of a word per tile: outputs come twice as fast as they leave, and none is lost."""
    log = check(SMALL, [dense(SMALL, passes=1, outputs=12 * SMALL.cols, dest_row=48)])
    assert log["wait_out"] > 0


def fault_of(operands, op=Op.MATMUL, before=()):
    machine = Machine(SMALL)
    for good in before:
        machine.execute(good)
    machine.weights(operands)
    encoded = [(Op.MATMUL, issue_bits(good)) for good in before] + [(op, issue_bits(operands))]
    log = run_engine(engine(SMALL), SMALL, machine, encoded)
    assert len(log["retired"]) <= len(before)
    return log["fault"], log


@pytest.mark.parametrize(
    "wrong",
    [
        {"rows": SMALL.tokens + 1},
        {"kind": 3, "track_max": 1},
        {"kind": 3, "track_max": 0, "transpose": 1},
        {"kind": 1, "track_max": 1},
        {"kind": 1, "track_max": 0, "transpose": 1},
        {"transpose": 1, "dest_col": 64},
        {"transpose": 1, "dest_row": 0, "dest_col": 64},
        {"transpose": 1, "dest_row": 257, "dest_col": 64},
        {"transpose": 1, "dest_row": 1, "dest_col": 66},
        {"transpose": 1, "dest_row": 1, "dest_col": 65},
        {"kind": 2, "track_max": 0, "dest": 4098},
        {"kind": 1, "track_max": 0, "dest_row": 33},
        {"row_max": SMALL.row_max_banks},
    ],
    ids=str,
)
def test_illegal_operand(wrong):
    fault, log = fault_of(dense(SMALL, **wrong))
    assert fault == (Fault.ILLEGAL_OPERAND, 0)
    assert not log["writes"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"source": SMALL.scratch_words - 4 * SMALL.tokens + 1},
        {"source": 65535},
        {"source_row": 4095},
        {"source_plane": 65535, "two_planes": 1},
        {"dest": SMALL.scratch_bytes},
        {"dest": SMALL.scratch_bytes - 24 * SMALL.tokens + 1, "passes": 1, "outputs": 24},
        {"dest": (1 << 21) - 1},
        {"dest_row": 65535},
        {"dest_row": 1, "dest_col": 60000, "transpose": 1, "track_max": 0},
        {"dest_col": 60000, "kind": 3, "track_max": 0},
    ],
    ids=str,
)
def test_scratch_address(wrong):
    """The wrong access is not made, nothing outside the instruction's own bytes changes."""
    good = dense(SMALL, outputs=4, passes=1, rows=2)
    operands = dense(SMALL, row_max=2) | wrong
    fault, log = fault_of(operands, before=[good])
    assert fault == (Fault.SCRATCH_ADDRESS, 1)
    assert np.array_equal(log["scratch"][:4096], Machine(SMALL).before[:4096])


def test_last_word_is_inside():
    operands = dense(SMALL, rows=3, source=SMALL.scratch_words - 12, dest=0, dest_row=24, outputs=24)
    check(SMALL, [operands, operands | {"source": 100, "dest": SMALL.scratch_bytes - 3 * 24, "row_max": 3}])


def test_halt_stops_accesses():
    """After `halt` neither a read nor a write is asked for (the bench asserts it), and nothing more retires."""
    machine = Machine(SMALL)
    machine.execute(dense(SMALL))
    log = run_engine(engine(SMALL), SMALL, machine, [(Op.MATMUL, issue_bits(dense(SMALL)))], halt_after=5)
    assert log["fault"] is None
    assert not log["retired"]
    assert 5 <= len(log["writes"]) <= 6


ARTY = replace(BOARDS["arty_a7"].config, bank_words=512)
DEIT = [
    # A head's Q K^T: the drain just keeps up. Attention x V: two byte planes. A layer: parameters in the stream.
    {"passes": 4, "outputs": 197, "dest_row": 208, "per_channel": 0, "row_max": 2},
    {"source_row": 26, "source_plane": 13, "rows": 31, "passes": 13, "two_planes": 1, "outputs": 24, "dest_row": 192},
    {"source_row": 12, "passes": 12, "outputs": 32, "dest_row": 48, "dest_col": 64, "row_max": 7},
    {"source_row": 12, "passes": 12, "rows": 8, "outputs": 80, "dest_row": 160, "kind": 1, "track_max": 0},
    {"source_row": 12, "passes": 12, "rows": 31, "outputs": 48, "dest_col": 31 * 48, "kind": 3, "track_max": 0},
]


def bench(tmp_path, instructions, *, pressure, rate):
    """The Verilog of the engine at the size of the Arty's, under cocotb."""
    path = tmp_path / "program.npz"
    prepare(path, ARTY, instructions)
    env = {"PROGRAM": path, "PRESSURE": pressure, "RATE": rate, "LATENCY": 2}
    return run_bench(engine(ARTY, latency=2), "sim.bench.matmul", name="matmul_engine", env=env)


def test_deit_shapes_without_gaps(tmp_path):
    """Transposed results leave one byte per cycle, so that is left to the other bench."""
    assert bench(tmp_path, [dense(ARTY, **shape) for shape in DEIT], pressure=0, rate=0.99) == 1


def test_deit_shapes_under_stalls(tmp_path):
    shapes = [DEIT[3], DEIT[4], DEIT[1], DEIT[2] | {"transpose": 1, "dest_row": 1}]
    assert bench(tmp_path, [dense(ARTY, **shape) for shape in shapes], pressure=0.3, rate=0.3) == 1


def test_scratchpad_is_a_power_of_two():
    with pytest.raises(ValueError, match="scratch_words must be a power of two, not 1000"):
        MatmulEngine(
            rows=8, cols=4, tokens=16, drain_lanes=2, row_max_banks=4, scratch_words=1000, mapping="portable"
        )  # fmt: skip

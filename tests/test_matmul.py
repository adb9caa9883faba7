"""MATMUL: random programs equal the laws, at full speed and under stalls; rate; faults; halt."""

from dataclasses import replace

import numpy as np
import pytest

from hw.matmul import MatmulEngine
from hw.spec.config import PRESETS
from hw.spec.isa import Fault, Op
from tests.support.matmul import Machine, issue_bits, program, run_engine
from tests.support.streams import PRESSURES

SMALL = replace(PRESETS["tiny"], rows=8, cols=4, tokens=16, banks=2, bank_words=512)


def engine(config, latency=3):
    return MatmulEngine(
        rows=config.rows, cols=config.cols, tokens=config.tokens, drain_lanes=config.drain_lanes,
        row_max_banks=config.row_max_banks, scratch_words=config.scratch_words, mapping="portable",
        scratch_latency=latency,
    )  # fmt: skip


def beats_of(operands, config):
    tiles = -(-operands["outputs"] // config.cols)
    return tiles * operands["passes"] * operands["rows"] * (1 + operands["two_planes"])


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

"""Token slices: random programs on the compiled gateware equal the machine model, slice by slice.

``SLICE_PROGRAMS=5000 pytest tests/test_slices.py`` runs so many of them instead of a sample: hours.
"""

import os
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from hw.boards.registry import BOARDS
from hw.spec.isa import Fault, Op, Region, decode_program, encode
from hw.spec.regs import State
from sim.machine import Machine, MachineFault
from sim.random_programs import random_program
from sim.rig import Rig
from tests.test_core import (
    DEFAULTS,
    MEMORIES,
    equal,
    reset_after,
    test_counters,
    test_deadlocks_are_the_machine_models,
    test_faults_stop_the_machine_and_it_recovers,
)

SLICES = (2, 3)
EACH = -(-int(os.environ.get("SLICE_PROGRAMS", "120")) // (len(SLICES) * len(MEMORIES)))  # programs with each memory


def config(slices):
    products = "lut" if slices == 3 else "dsp"
    return replace(BOARDS["tiny"].config, slices=slices, small_products=products)


@pytest.fixture(scope="module", params=SLICES, ids=lambda slices: f"{slices} slices")
def rig(request):
    return Rig(config(request.param))


# These, of one slice, hold for several.
__all__ = [
    "test_counters",
    "test_deadlocks_are_the_machine_models",
    "test_faults_stop_the_machine_and_it_recovers",
]


@pytest.mark.parametrize("slices", SLICES)
def test_random_programs_are_legal(slices):
    """No thresholds are missing, and every way to name slices and parts of words is among them."""
    found = Counter()
    for seed in range(60):
        generated = random_program(config(slices), seed, groups=20)
        regions = {region: content.copy() for region, content in generated.before.items()}
        machine = Machine(config(slices), regions, check=True)
        machine.run(generated.program)
        assert not machine.hazards
        assert all((machine.regions[region] == content).all() for region, content in generated.after.items())
        for instruction in decode_program(generated.program):
            o = instruction.operands
            found[instruction.op, o.get("slice"), o.get("every"), o.get("skip", 0) > 0, o.get("drop", 0) > 0] += 1
            found[instruction.op, o.get("transpose")] += 1
    for slice_ in range(slices):
        assert all(found[Op.LOAD, slice_, every, False, False] for every in (0, 1))
        assert all(found[Op.STORE, slice_, None, skip, drop] for skip in (False, True) for drop in (False, True))
    assert found[Op.MATMUL, 1] > 5


@pytest.mark.parametrize("memory", MEMORIES)
def test_random_programs(rig, memory):
    rig.sim.configure(**DEFAULTS | MEMORIES[memory])
    rig.sim.reset()
    first = EACH * list(MEMORIES).index(memory)
    for seed in range(first, first + EACH):
        generated = random_program(rig.config, seed, groups=20)
        rig.load(generated.program, generated.before)
        assert rig.start() is State.DONE, (seed, rig.fault())
        equal(rig, generated)


@pytest.fixture(scope="module")
def calm(rig):
    """The rig, with an ideal memory."""
    rig.sim.configure(**DEFAULTS)
    rig.sim.reset()
    return rig


_TRANSFER = {"region": Region.WORK, "offset": 0, "scratch": 0, "run": 3}


@pytest.mark.parametrize(
    ("op", "operands"),
    [(Op.LOAD, {"slice": 0}), (Op.LOAD, {"slice": 0, "every": 1}), (Op.STORE, {"slice": 0}), (Op.STORE, {"skip": 8}),
     (Op.STORE, {"drop": 8})],
    ids=str,
)  # fmt: skip
def test_a_slice_or_part_that_is_not_there(calm, op, operands):
    """At the first one; one less is there."""
    most = {**operands, **({"slice": calm.config.slices} if "slice" in operands else {})}
    first = encode(Op.LOAD, **_TRANSFER)
    least = {name: value - 1 for name, value in most.items() if name != "every"}
    content = {region: np.zeros((20, calm.config.word_bytes), np.uint8) for region in Region}
    for changed, state in ((most, State.FAULT), (least, State.DONE)):
        program = first + encode(op, **_TRANSFER | changed) + encode(Op.HALT)
        calm.load(program, content)
        assert calm.start() is state
        machine = Machine(calm.config, {region: words.copy() for region, words in content.items()})
        if state is State.DONE:
            machine.run(program)
            continue
        assert calm.fault() == (Fault.ILLEGAL_OPERAND, op.name, 1)
        with pytest.raises(MachineFault) as raised:
            machine.run(program)
        assert (raised.value.fault, raised.value.index) == (Fault.ILLEGAL_OPERAND, 1)


@pytest.mark.parametrize("seed", range(8))
def test_reset_in_the_middle(rig, seed):
    reset_after(rig, seed, 30 + 997 * seed)

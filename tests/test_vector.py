"""The VECTOR engine against the laws: random programs, faults, cycle counts."""

import numpy as np
import pytest

from hw.spec.isa import Fault, Op
from hw.vector import VectorEngine
from tests.support.streams import PRESSURES
from tests.support.vector_driver import run_program
from tests.support.vector_reference import Program, random_program

WORDS = 512
EVERYTHING = ["softmax", "norm", "gelu", "add"]


def engine(*, rows=8, lanes=2, scratch_words=WORDS, scratch_latency=2):
    return VectorEngine(
        rows=rows,
        lanes=lanes,
        tokens=16,
        row_max_banks=2,
        stat_banks=2,
        max_row=1024,
        scratch_words=scratch_words,
        scratch_latency=scratch_latency,
    )


def check(run, program):
    assert run.fault is None
    assert len(run.retired) == len(program.instructions) == len(run.started)
    wrong = np.argwhere(run.memory != program.after)
    assert wrong.size == 0, f"{len(wrong)} bytes differ, first at (word, byte) {wrong[:4].tolist()}"


@pytest.mark.parametrize("stall", PRESSURES)
@pytest.mark.parametrize(("rows", "lanes", "latency"), [(8, 2, 2), (8, 1, 1), (16, 4, 3)])
def test_random_programs(rows, lanes, latency, stall):
    calls = EVERYTHING * 2
    program = random_program(10 * rows + lanes, calls, rows=rows, words=WORDS, max_rows=5, max_length=45)
    run = run_program(engine(rows=rows, lanes=lanes, scratch_latency=latency), program, stall=stall, seed=lanes)
    check(run, program)


@pytest.mark.parametrize("name", EVERYTHING)
def test_smallest_and_fullest_rows(name):
    calls = [(name, {"shape": shape}) for shape in ((1, 1), (2, 8), (3, 9), (16, 3), (1, 16))]
    program = random_program(3, calls, rows=8, words=WORDS, max_rows=16, max_length=64)
    check(run_program(engine(), program), program)


@pytest.mark.parametrize(("wide_source", "wide_dest"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_layer_norm_widths(wide_source, wide_dest):
    calls = [("norm", {"shape": (3, length), "wide_source": wide_source, "wide_dest": wide_dest}) for length in (8, 23)]
    program = random_program(4, calls, rows=8, words=WORDS, max_rows=16, max_length=64)
    check(run_program(engine(), program, stall=0.3), program)


@pytest.mark.parametrize("wide", [(0, 0, 0), (0, 1, 0), (1, 0, 1), (1, 1, 1), (1, 1, 0), (0, 0, 1)])
def test_add_widths(wide):
    program = random_program(5, [("add", {"shape": (3, 19), "wide": wide})], rows=8, words=WORDS, max_rows=16,
                             max_length=64)  # fmt: skip
    check(run_program(engine(), program, stall=0.3), program)


RATES = [  # generator, arguments, number of the instruction measured, elements per cycle, rows of two runs, length
    ("softmax", {"wide": 1}, 0, 1.9, (2, 6), 200),
    ("softmax", {"wide": 1}, 1, 1.9, (2, 6), 200),
    ("softmax", {"wide": 0}, 1, 1.9, (2, 6), 200),
    ("norm", {"wide_source": 0, "wide_dest": 0}, 0, 1.9, (2, 3), 1000),
    ("norm", {"wide_source": 1, "wide_dest": 0}, 1, 1.9, (8, 16), 64),
    ("norm", {"wide_source": 0, "wide_dest": 1}, 1, 1.9, (8, 16), 64),
    ("gelu", {}, 0, 0.95, (2, 6), 100),
    ("add", {"wide": (1, 1, 1)}, 0, 0.95, (2, 6), 100),
]


@pytest.mark.parametrize(("name", "arguments", "number", "rate", "counts", "length"), RATES)
def test_elements_per_cycle(name, arguments, number, rate, counts, length):
    cycles = []
    for count in counts:
        shape = (count, length)
        program = random_program(6, [(name, arguments | {"shape": shape})], rows=8, words=4096, max_rows=16,
                                 max_length=1024)  # fmt: skip
        run = run_program(engine(scratch_words=4096), program)
        check(run, program)
        cycles.append(run.cycles(number))
    few, many = counts
    assert (many - few) * length / (cycles[1] - cycles[0]) >= rate, cycles
    assert cycles[0] - few * length / rate < 400, "start and end of an instruction"


def test_next_instruction_starts_at_once():
    program = random_program(7, ["add", "gelu", "add"], rows=8, words=WORDS, max_rows=3, max_length=20)
    run = run_program(engine(), program)
    assert [later - earlier for later, earlier in zip(run.started[1:], run.retired, strict=False)] == [2, 2]


def faulty(op, **operands):
    """A program of one fine instruction and one that faults."""
    fine = random_program(8, ["add"], rows=8, words=WORDS, max_rows=2, max_length=10)
    common = {"rows": 2, "length": 16, "source": 0, "source_row": 2}
    instructions = [*fine.instructions, (op, common | operands, np.zeros(16, np.int64))]
    return Program(instructions, fine.before, fine.after)


@pytest.mark.parametrize(("code", "op", "operands"), [
    (Fault.ILLEGAL_OPERAND, Op.ADD, {"rows": 17}),
    (Fault.ILLEGAL_OPERAND, Op.MOMENTS, {"length": 1025}),
    (Fault.ILLEGAL_OPERAND, Op.SHIFT_GELU, {"i0": 0}),
    (Fault.ILLEGAL_OPERAND, Op.SHIFTMAX, {"i0": 3, "row_max": 2}),
    (Fault.ILLEGAL_OPERAND, Op.LAYER_NORM, {"stats": 2}),
    (Fault.SCRATCH_ADDRESS, Op.ADD, {"source": WORDS}),
    (Fault.SCRATCH_ADDRESS, Op.ADD, {"identity": WORDS - 1}),
    (Fault.SCRATCH_ADDRESS, Op.LAYER_NORM, {"params": WORDS - 31}),
    (Fault.SCRATCH_ADDRESS, Op.SHIFT_GELU, {"i0": 9, "dest": 65535}),
    (Fault.SCRATCH_ADDRESS, Op.SHIFTMAX_SUM, {"i0": 9, "source": WORDS - 2}),
])  # fmt: skip
def test_faults(code, op, operands):
    program = faulty(op, **operands)
    run = run_program(engine(), program)
    assert run.fault is not None
    assert run.fault[:2] == (code, 1001)
    assert run.accesses_after_halt == 0
    assert len(run.retired) == 1
    assert (run.memory == program.after).all(), "only the instruction before may have written"


def test_second_plane_outside():
    program = faulty(Op.SHIFTMAX, i0=9, dest=WORDS - 1, rows=1, length=8, wide=1, dest_plane=1)
    run = run_program(engine(), program)
    assert run.fault[:2] == (Fault.SCRATCH_ADDRESS, 1001)
    changed = np.argwhere((run.memory != program.after).any(axis=1)).ravel()
    assert set(changed) <= {WORDS - 1}

# amaranth: UnusedElaboratable=no
"""The VECTOR engine with rivals' units against the machine model, whose laws they are: random programs under stalls."""

import numpy as np
import pytest

from hw.spec.config import Config
from hw.spec.isa import Op, encode
from hw.spec.vector_ops import UNITS
from hw.vector.engine import VectorEngine
from sim.machine import Machine
from tests.support.streams import PRESSURES
from tests.support.vector_driver import run_program
from tests.support.vector_reference import Program

WORDS, QUARTER = 512, 128
SOFTMAX, GELU, L1, INT = ("int_softmax", "log_int_softmax"), ("int_gelu",), ("l1_layer_norm",), ("int_layer_norm",)
PTF = ("ptf_layer_norm",)
EXPONENT = {"ln2": 22, "b": 83, "c": 2662, "exp_mult": 1652108263, "exp_shift": 27}


class Instructions:
    """Random ones, and what the machine model makes of them."""

    def __init__(self, seed, *, rows, units):
        self.rng, self.rows, self.issued = np.random.default_rng(seed), rows, []
        sizes = {"tokens": 16, "row_max_banks": 2, "stat_banks": 2, "max_row": 1024, "bank_words": QUARTER}
        self.machine = Machine(Config(rows=rows, cols=4, array="portable", vector=units, **sizes), {})
        self.machine.scratch[:] = self.rng.integers(0, 256, (WORDS, rows), dtype=np.uint8)
        self.before = self.machine.scratch.copy()

    def shape(self, size):
        """Rows and length of a tensor that fits a quarter."""
        length = int(self.rng.integers(1, 40))
        words = -(-length * size // self.rows)
        count = int(self.rng.integers(1, min(5, QUARTER // words) + 1))
        return {"rows": count, "length": length}, words

    def emit(self, op, maxima=None, **operands):
        maxima = np.zeros(operands["rows"], np.int64) if maxima is None else maxima
        self.machine.row_max[operands.get("row_max", 0), : len(maxima)] = maxima
        self.machine.run(encode(op, **operands) + encode(Op.HALT))
        self.issued.append((op, operands, maxima))

    def source(self, shape, words, wide=0):
        source = {"source": int(self.rng.integers(0, 8)), "source_row": words}
        raw = self.machine.scratch[source["source"] :][: words * shape["rows"]].reshape(shape["rows"], -1)
        x = np.ascontiguousarray(raw).view("<i2" if wide else "i1")[:, : shape["length"]]
        return {**source, **shape}, x.astype(np.int64)

    def softmax(self):
        for planes in (0, 1):
            source, x = self.source(*self.shape(1))
            common = {**source, **EXPONENT, "fraction": int(self.rng.integers(0, 8)), "stats": planes, "row_max": 1}
            self.emit(Op.INT_SOFTMAX_SUM, x.max(axis=1), **common)
            place = {"dest": QUARTER, "dest_row": source["source_row"], "dest_plane": QUARTER, "planes": planes}
            self.emit(Op.INT_SOFTMAX, x.max(axis=1), **common, **place, halve=int(self.rng.integers(0, 2)))

    def log_softmax(self):
        polynomial = {name: EXPONENT[name] for name in ("ln2", "b", "c")}
        for planes in (0, 1):
            source, x = self.source(*self.shape(1))
            common = {**source, **polynomial, "fraction": int(self.rng.integers(0, 8)), "stats": planes, "row_max": 1}
            self.emit(Op.LOG_SOFTMAX_SUM, x.max(axis=1), **common)
            place = {"dest": QUARTER, "dest_row": source["source_row"], "dest_plane": QUARTER, "planes": planes}
            self.emit(Op.LOG_SOFTMAX, x.max(axis=1), **common, **place, offset=int(self.rng.integers(0, 4)))

    def gelu(self):
        """int16 and int8, to bytes, to planes, and in place, where int16 rows become int8 rows of half the length."""
        for wide, planes, in_place in ((0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1)):
            shape, words = self.shape(1 + wide)
            source, _ = self.source(shape, words + words % 2, wide)
            dest = {"dest": source["source"] if in_place else QUARTER, "dest_plane": QUARTER, "planes": planes}
            dest["dest_row"] = (words + 1) // 2 if in_place and wide else words + words % 2
            factors = {"mult": int(self.rng.integers(1 << 30, 1 << 31)), "shift": int(self.rng.integers(38, 56))}
            self.emit(Op.INT_GELU, **source, **dest, **factors, wide_source=wide, b=6423, c=45642524)

    def norm(self, op):
        """Mean and factor, and the elements less both; what LAYER_NORM reads as parameters are random bytes."""
        for wide in (0, 1):
            shape, words = self.shape(1 + wide)
            source, _ = self.source(shape, words, wide)
            common = {**source, "stats": wide, "wide_source": wide}
            self.emit(Op.ROW_MEAN, **common)
            self.emit(op, **common, **({"norm_shift": int(self.rng.integers(8))} if op == Op.INT_DEVIATION else {}))
            self.emit(Op.LAYER_NORM, **common, dest=QUARTER, dest_row=words, params=2 * QUARTER)

    def power_factors(self):
        """int8 and int16, to both, with random bytes for parameters; then the norm of what was scaled."""
        for wide, wide_dest in ((0, 0), (1, 0), (0, 1), (1, 1)):
            shape, words = self.shape(2)
            source, _ = self.source(shape, words, wide)
            shift = int(self.rng.integers(8))
            self.emit(Op.POWER_FACTORS, **source, dest=QUARTER, dest_row=words, params=2 * QUARTER, wide_source=wide,
                      wide_dest=wide_dest, norm_shift=shift)  # fmt: skip
            common = {**source, "source": QUARTER, "stats": wide, "wide_source": wide_dest}
            self.emit(Op.MOMENTS, **common)
            self.emit(Op.LAYER_NORM, **common, dest=3 * QUARTER, dest_row=words, params=2 * QUARTER)

    def program(self):
        return Program(self.issued, self.before, self.machine.scratch)


@pytest.mark.parametrize("stall", PRESSURES)
@pytest.mark.parametrize(("rows", "lanes", "units"), [
    (8, 2, SOFTMAX), (8, 2, GELU), (8, 1, L1), (8, 2, INT), (8, 1, PTF), (16, 4, (*SOFTMAX, *GELU, *L1, *INT, *PTF)),
    (16, 2, (*UNITS, *SOFTMAX, *GELU, *L1, *INT, *PTF)),
])  # fmt: skip
def test_equals_the_machine_model(rows, lanes, units, stall):
    made = Instructions(rows + lanes, rows=rows, units=units)
    for unit in units:
        if unit == "int_softmax":
            made.softmax()
        elif unit == "log_int_softmax":
            made.log_softmax()
        elif unit == "int_gelu":
            made.gelu()
        elif unit == "l1_layer_norm":
            made.norm(Op.L1_DEVIATION)
        elif unit == "int_layer_norm":
            made.norm(Op.INT_DEVIATION)
        elif unit == "ptf_layer_norm":
            made.power_factors()
    dut = VectorEngine(
        rows=rows, lanes=lanes, tokens=16, row_max_banks=2, stat_banks=2, max_row=1024, scratch_words=WORDS,
        scratch_latency=2, vector=made.machine.config.vector,
    )  # fmt: skip
    program = made.program()
    run = run_program(dut, program, stall=stall, seed=lanes)
    assert run.fault is None
    assert len(run.retired) == len(program.instructions)
    wrong = np.argwhere(run.memory != program.after)
    assert wrong.size == 0, f"{len(wrong)} bytes differ, first at (word, byte) {wrong[:4].tolist()}"

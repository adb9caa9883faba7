"""The VECTOR instructions on NumPy arrays, and random programs of them: what tests hold the engine to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hw.spec import arith
from hw.spec.isa import OPCODE_BITS, WAIT_BITS, WAITED, Op, encode

__all__ = ["Program", "Reference", "operand_bits", "random_program"]


def operand_bits(op, operands):
    """The operand field of an issued instruction."""
    return int.from_bytes(encode(op, **operands), "little") >> (OPCODE_BITS + len(WAITED) * WAIT_BITS)


class Reference:
    """Scratchpad bytes ``memory[word, byte]``, statistics and maxima per bank, and one method per opcode."""

    def __init__(self, memory):
        self.memory = memory.copy()
        self.rows = memory.shape[1]
        self.stats, self.maxima = {}, {}

    def read(self, word, stride, count, length, *, wide=False):
        """[count, length] integers, row t at word + t*stride."""
        size = 2 if wide else 1
        words = -(-length * size // self.rows)
        raw = np.stack([self.memory[word + t * stride : word + t * stride + words].reshape(-1) for t in range(count)])
        return raw[:, : length * size].copy().view("<i2" if wide else "i1").astype(np.int64)

    def write(self, word, stride, values, dtype):
        """Rows of values as bytes; what follows them in their last words is untouched."""
        raw = np.ascontiguousarray(values.astype(dtype)).view(np.uint8).reshape(len(values), -1)
        for t, row in enumerate(raw):
            self.memory.reshape(-1)[(word + t * stride) * self.rows :][: len(row)] = row

    def write_results(self, o, values):
        """16-bit results as two byte planes, if the instruction says so, or as they are; 8-bit ones as bytes."""
        if o.get("planes", 0):
            self.write(o["dest"], o["dest_row"], values >> 8, np.uint8)
            self.write(o["dest"] + o["dest_plane"], o["dest_row"], values & 255, np.uint8)
        elif o.get("wide_dest", 0):
            self.write(o["dest"], o["dest_row"], values, np.uint16)
        else:
            self.write(o["dest"], o["dest_row"], values, np.uint8)

    def execute(self, op, o, row_max):
        getattr(self, op.name.lower())(o, row_max)

    def _source(self, o):
        return self.read(o["source"], o["source_row"], o["rows"], o["length"], wide=bool(o.get("wide_source", 0)))

    def shiftmax_sum(self, o, row_max):
        row_max = self.maxima[o["stats"]] if o["own_max"] else row_max
        self.stats[o["stats"]] = arith.shiftmax_sum(
            self._source(o), row_max, o["i0"], start=o["start"], fraction=o["fraction"]
        )

    def shiftmax(self, o, row_max):
        row_max = self.maxima[o["stats"]] if o["own_max"] else row_max
        factor = self.stats[o["stats"]][: o["rows"], None]
        p = arith.shiftmax_apply(
            self._source(o), row_max[:, None], factor, o["i0"], 16 if o["planes"] else 8, fraction=o["fraction"]
        )
        padded = np.zeros((len(p), -(-o["length"] // self.rows) * self.rows), np.int64)
        padded[:, : o["length"]] = p
        self.write_results(o, padded)

    def moments(self, o, _row_max):
        self.stats[o["stats"]] = np.stack(arith.moments(self._source(o)))

    def layer_norm(self, o, _row_max):
        mean, factor = self.stats[o["stats"]][:, : o["rows"], None]
        words = max(1, 16 // self.rows)
        raw = self.memory[o["params"] : o["params"] + words * o["length"]].reshape(o["length"], -1).tolist()
        bias = [int.from_bytes(bytes(e[:5]), "little", signed=True) for e in raw]
        mult = [int.from_bytes(bytes(e[5:10]), "little", signed=True) for e in raw]
        shift = [e[10] & 63 for e in raw]
        z = arith.normalize(self._source(o), mean, factor, np.array(bias))
        bits = 16 if o["wide_dest"] or o["planes"] else 8
        self.write_results(o, arith.requantize(z, np.array(mult), np.array(shift), bits))

    def shift_gelu(self, o, row_max):
        x = self._source(o)
        y = x * arith.gelu_sigma(x, row_max[:, None], o["i0"])
        self.write_results(o, arith.requantize(y, o["mult"], o["shift"], 16 if o["planes"] else 8))

    def table(self, o, _row_max):
        raw = self.memory[o["params"] : o["params"] + 512 // self.rows].tobytes()
        entries = np.array([int.from_bytes(raw[2 * k : 2 * k + 2], "little", signed=True) for k in range(256)])
        self.write_results(o, arith.table(self._source(o), entries))

    def add_max(self, o, row_max):
        self.maxima[o["stats"]] = self.add(o | {"wide_source": 0, "wide_identity": 0, "wide_dest": 0}, row_max).max(1)

    def add(self, o, _row_max):
        identity = self.read(o["identity"], o["identity_row"], o["rows"], o["length"], wide=bool(o["wide_identity"]))
        bits = 16 if o["wide_dest"] else 8
        total = arith.requantize(
            self._source(o), o["mult"], o["shift"], bits, identity=identity,
            mult_identity=o["mult_identity"], shift_identity=o["shift_identity"],
        )  # fmt: skip
        self.write_results(o, total)
        return total


@dataclass
class Program:
    """Instructions ``(op, operands, row_max vector)``, the scratchpad before and after them."""

    instructions: list
    before: np.ndarray
    after: np.ndarray


class _Generator:
    """Random instructions whose operands come from what the previous ones left in the scratchpad."""

    def __init__(self, rng, *, rows, words, max_rows, max_length):
        self.rng, self.rows, self.words = rng, rows, words
        self.max_rows, self.max_length = max_rows, max_length
        self.before = rng.integers(0, 256, (words, rows), dtype=np.uint8)
        self.params = words // 4 * 3  # the last quarter of the scratchpad holds a norm table
        entries = (words - self.params) // max(1, 16 // rows)
        bias = rng.integers(-(1 << 30), 1 << 30, entries)
        mult = rng.integers(-(1 << 31), (1 << 31) + 1, entries)
        table = np.zeros((entries, max(16, rows)), np.uint8)
        for k in range(entries):
            table[k, :5] = list(int(bias[k]).to_bytes(5, "little", signed=True))
            table[k, 5:10] = list(int(mult[k]).to_bytes(5, "little", signed=True))
            table[k, 10] = rng.integers(40, 60)
        self.before[self.params :] = table.reshape(-1, rows)[: words - self.params]
        self.max_entries = entries
        self.reference = Reference(self.before)
        self.instructions = []

    def emit(self, op, maxima=None, **operands):
        maxima = np.zeros(operands["rows"], np.int64) if maxima is None else maxima
        self.reference.execute(op, operands, maxima)
        self.instructions.append((op, operands, maxima))

    def place(self, region, count, length, *, wide=False, spread=True):
        """(first word, words from row to row) of a tensor somewhere in the given quarter of the scratchpad."""
        words = -(-length * (2 if wide else 1) // self.rows)
        quarter = self.words // 4
        slack = (quarter - words * count) // count
        assert slack >= 0, "tensor does not fit a quarter of the scratchpad"
        stride = words + (int(self.rng.integers(0, min(slack, 5) + 1)) if spread else 0)
        first = int(self.rng.integers(0, quarter - (stride * (count - 1) + words) + 1))
        return region * quarter + first, stride

    def shape(self, *, planes=1):
        quarter = self.words // 4 * self.rows // planes
        length = int(self.rng.integers(1, self.max_length + 1))
        padded = -(-length // self.rows) * self.rows * 2
        return int(self.rng.integers(1, max(2, min(self.max_rows, quarter // padded) + 1))), length

    def planes(self, planes):
        """Operands of results in two byte planes, the low one a quarter of the scratchpad further; None: or not."""
        planes = int(self.rng.integers(0, 2)) if planes is None else planes
        return {"planes": planes, "dest_plane": self.words // 4 if planes else int(self.rng.integers(0, 1 << 16))}

    def softmax(self, shape=None, planes=None):
        rng = self.rng
        count, length = shape or self.shape(planes=2)
        source, source_row = self.place(0, count, length)
        x = self.reference.read(source, source_row, count, length)
        common = {
            "source": source, "source_row": source_row, "rows": count, "length": length,
            "i0": int(rng.choice([1, 2, 7, 16, 21, 40, 255, 1023])), "row_max": int(rng.integers(0, 2)),
            "stats": int(rng.integers(0, 2)), "fraction": int(rng.integers(0, 8)),
        }  # fmt: skip
        common["own_max"] = 0
        self._probabilities(x.max(axis=1), common, planes, start=0)

    def _probabilities(self, row_max, common, planes, *, start):
        count, length = common["rows"], common["length"]
        self.emit(Op.SHIFTMAX_SUM, row_max, **common, start=start)
        dest, dest_row = self.place(1, count, length)
        self.emit(Op.SHIFTMAX, row_max, **common, dest=dest, dest_row=dest_row, **self.planes(planes))

    def biased(self, shape=None, planes=None):
        """Shiftmax of scores plus a bias, in place, some elements masked elsewhere; other row maxima would be wrong."""
        rng = self.rng
        count, length = shape or self.shape(planes=2)
        source, source_row = self.place(0, count, length)
        identity, identity_row = self.place(2, count, length)
        common = {"source": source, "source_row": source_row, "rows": count, "length": length}
        common |= {"stats": int(rng.integers(0, 2))}
        self.emit(
            Op.ADD_MAX, **common, dest=source, dest_row=source_row, identity=identity, identity_row=identity_row,
            mult=int(rng.integers(1 << 29, 1 << 31)), shift=int(rng.integers(30, 33)),
            mult_identity=int(rng.integers(1 << 29, 1 << 31)), shift_identity=int(rng.integers(30, 33)),
        )  # fmt: skip
        common |= {"i0": int(rng.choice([1, 7, 21, 40, 1023])), "row_max": int(rng.integers(0, 2)), "own_max": 1}
        common |= {"fraction": int(rng.integers(0, 8))}
        start = int(rng.choice([0, 3 * common["i0"], (1 << 22) - 1]))
        self._probabilities(np.full(count, -128), common, planes, start=start)

    def norm(self, shape=None, wide_source=None, wide_dest=None, planes=None):
        """Also in place."""
        rng = self.rng
        count, length = shape or self.shape()
        length = min(length, self.max_entries)
        wide_source = int(rng.integers(0, 2)) if wide_source is None else wide_source
        wide_dest = int(rng.integers(0, 2)) if wide_dest is None else wide_dest
        source, source_row = self.place(0, count, length, wide=wide_source)
        common = {
            "source": source, "source_row": source_row, "rows": count, "length": length,
            "wide_source": wide_source, "stats": int(rng.integers(0, 2)),
        }  # fmt: skip
        self.emit(Op.MOMENTS, **common)
        planes = self.planes(planes)
        wide = wide_dest and not planes["planes"]
        dest, dest_row = self.place(1, count, length, wide=wide)
        if wide == wide_source and rng.integers(0, 2):
            dest, dest_row = source, source_row
        self.emit(
            Op.LAYER_NORM, **common, **planes, dest=dest, dest_row=dest_row, wide_dest=wide_dest, params=self.params
        )

    def gelu(self, shape=None, planes=None):
        """Also in place."""
        rng = self.rng
        count, length = shape or self.shape()
        source, source_row = self.place(0, count, length)
        dest, dest_row = self.place(1, count, length)
        if rng.integers(0, 2):
            dest, dest_row = source, source_row
        x = self.reference.read(source, source_row, count, length)
        self.emit(
            Op.SHIFT_GELU, x.max(axis=1), source=source, source_row=source_row, dest=dest, dest_row=dest_row,
            rows=count, length=length, i0=int(rng.choice([1, 3, 13, 18, 64, 255])), row_max=int(rng.integers(0, 2)),
            mult=int(rng.integers(1 << 30, (1 << 31) + 1)), shift=int(rng.integers(25, 39)), **self.planes(planes),
        )  # fmt: skip

    def table(self, shape=None, wide_dest=None, planes=None):
        """Of any bytes; also in place."""
        rng = self.rng
        count, length = shape or self.shape()
        wide_dest = int(rng.integers(0, 2)) if wide_dest is None else wide_dest
        planes = self.planes(planes)
        wide = wide_dest and not planes["planes"]
        source, source_row = self.place(0, count, length)
        dest, dest_row = self.place(1, count, length, wide=wide)
        if not wide and rng.integers(0, 2):
            dest, dest_row = source, source_row
        self.emit(
            Op.TABLE, source=source, source_row=source_row, dest=dest, dest_row=dest_row, rows=count, length=length,
            wide_dest=wide_dest, params=self.words // 4 * 3 + int(rng.integers(0, self.words // 4 - 512 // self.rows)),
            **planes,
        )  # fmt: skip

    def add(self, shape=None, wide=None):
        rng = self.rng
        count, length = shape or self.shape()
        wide_source, wide_identity, wide_dest = rng.integers(0, 2, 3).tolist() if wide is None else wide
        source, source_row = self.place(0, count, length, wide=wide_source)
        identity, identity_row = self.place(2, count, length, wide=wide_identity)
        dest, dest_row = self.place(1, count, length, wide=wide_dest)
        self.emit(
            Op.ADD, source=source, source_row=source_row, dest=dest, dest_row=dest_row, rows=count, length=length,
            mult=int(rng.integers(0, (1 << 31) + 1)), shift=int(rng.integers(22, 42)),
            identity=identity, identity_row=identity_row, mult_identity=int(rng.integers(0, (1 << 31) + 1)),
            shift_identity=int(rng.integers(22, 42)), wide_source=wide_source, wide_identity=wide_identity,
            wide_dest=wide_dest,
        )  # fmt: skip

    def program(self):
        return Program(self.instructions, self.before, self.reference.memory)


def random_program(seed, calls, *, rows, words, max_rows, max_length):
    """A program made by `calls`: names of generators, or (name, keyword arguments); words is a power of two."""
    generator = _Generator(
        np.random.default_rng(seed), rows=rows, words=words, max_rows=max_rows, max_length=max_length
    )
    for call in calls:
        name, arguments = (call, {}) if isinstance(call, str) else call
        getattr(generator, name)(**arguments)
    return generator.program()

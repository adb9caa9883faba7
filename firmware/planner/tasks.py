"""Instructions as tasks: operands, accesses and rough costs, one method per kind of step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from firmware.planner.allocator import Buffer
from firmware.planner.costs import matmul_cost, stream_cost, transfer_cost, vector_cost
from firmware.planner.dependencies import Access
from firmware.planner.image import ModelImage
from firmware.planner.program import CompileError, UnitError
from firmware.planner.scheduler import Stream, Task
from firmware.planner.transfer import Pattern
from hw.boards.memory import Memory
from hw.spec.config import Config
from hw.spec.isa import Kind, Op, Region
from hw.spec.memory import param_words
from hw.spec.model import Model, Node
from hw.spec.vector import row_of
from hw.spec.vector_ops import ADDEND_BITS

__all__ = ["Tasks"]

# int8 times less than 2^18, int16 times less than 2^10, rounded, do not saturate an addition's operand
_MOST_GAIN = tuple(1 << ADDEND_BITS - 1 - bits for bits in (8, 16))
_EXPONENT = ("ln2", "b", "c", "fraction", "exp_mult", "exp_shift")
_SOFTMAX = {
    "shiftmax": (Op.SHIFTMAX_SUM, Op.SHIFTMAX, ("i0", "fraction"), ()),
    "int_softmax": (Op.INT_SOFTMAX_SUM, Op.INT_SOFTMAX, _EXPONENT, ("halve",)),
    "log_int_softmax": (Op.LOG_SOFTMAX_SUM, Op.LOG_SOFTMAX, _EXPONENT[:4], ("offset",)),
}
"""Opcodes of both passes by the node's operator, constants of both and more of the second."""
_MOMENTS = {
    "layer_norm": (Op.MOMENTS,), "int_layer_norm": (Op.ROW_MEAN, Op.INT_DEVIATION),
    "l1_layer_norm": (Op.ROW_MEAN, Op.L1_DEVIATION), "ptf_layer_norm": (Op.MOMENTS,),
}  # fmt: skip
"""Opcodes before LAYER_NORM by the node's operator."""
_MOST_BYTES = (1 << 16) - 1  # from one plane of MATMUL's results to the other: the operand's width
_MAX_RUN = 1 << 12  # words of a LOAD or STORE run: the operand's width


def _rows(source: Buffer, rows: int, length: int, dest: Buffer | None = None) -> dict[str, int]:
    """Operands that VECTOR opcodes share: where rows of `length` elements are, and where their results go."""
    places = {"source": source.start, "source_row": source.row}
    if dest is not None:
        places |= {"dest": dest.start, "dest_row": dest.row}
        places |= {"planes": 1, "dest_plane": dest.plane} if dest.plane else {}
    return {**places, "rows": rows, "length": length}


def _tokens(source: Buffer, rows: int) -> dict[str, int]:
    """Operands of MATMUL that say where its tokens are, whole rows of `source`."""
    planes = {"two_planes": 1, "source_plane": source.plane} if source.plane else {}
    return {"source": source.start, "source_row": source.row, "rows": rows, "passes": source.row, **planes}


def _bank(space: str, bank: int) -> Access:
    return Access(space, bank, bank + 1)


class Tasks:
    """Makes tasks for one model on one configuration, with one memory.

    Where there are slices, a LOAD is for all of them, unless it says which, and a STORE is of the first.
    """

    def __init__(self, model: Model, config: Config, memory: Memory, image: ModelImage) -> None:
        self.config, self.blobs = config, image.blobs
        self._model, self._memory = model, memory
        self._word = config.word_bytes
        self._constants: dict[tuple[str, str, int | None, int], int] = {}  # a schedule asks for each a thousand times

    # LOAD and STORE

    def load(
        self, node: Node, region: Region, offset: int, buffer: Buffer, rows: int, reads: tuple[Access, ...],
        to: int | None = None,
    ) -> Task:  # fmt: skip
        """Contiguous memory -> the first `rows` rows of `buffer`."""
        words = rows * buffer.row
        operands = {"region": region, **self._contiguous(offset, buffer, rows).operands(), **self._into(to)}
        return Task(Op.LOAD, operands, *transfer_cost(words, words, self._memory), node.name, reads, (buffer.access(),))

    def store(
        self, node: Node, region: Region, offset: int, buffer: Buffer, rows: int, writes: tuple[Access, ...],
        of: int = 0,
    ) -> Task:  # fmt: skip
        """The first `rows` rows of `buffer` -> contiguous memory."""
        words = rows * buffer.row
        operands = {"region": region, **self._contiguous(offset, buffer, rows).operands(), "slice": of}
        return Task(
            Op.STORE, operands, *transfer_cost(words, words, self._memory), node.name, (buffer.access(),), writes
        )

    def _into(self, to: int | None) -> dict[str, int]:
        return {"every": int(self.config.slices > 1)} if to is None else {"slice": to}

    def gather(self, node: Node, buffer: Buffer, pattern: Pattern, to: int | None = None) -> Task:
        """WORK -> scratchpad words inside `buffer`."""
        operands = {"region": Region.WORK, **pattern.operands(), **self._into(to)}
        cost = transfer_cost(pattern.words, pattern.run[0], self._memory)
        return Task(Op.LOAD, operands, *cost, node.name, pattern.work(), (buffer.access(),))

    def scatter(self, node: Node, buffer: Buffer, pattern: Pattern, of: int = 0) -> Task:
        """Scratchpad words inside `buffer` -> WORK."""
        parts = {"skip": pattern.skip, "drop": pattern.drop}
        operands = {"region": Region.WORK, **pattern.operands(), **parts, "slice": of}
        cost = transfer_cost(pattern.words, pattern.run[0], self._memory)
        return Task(Op.STORE, operands, *cost, node.name, (buffer.access(),), pattern.work())

    def _contiguous(self, offset: int, buffer: Buffer, rows: int) -> Pattern:
        words = rows * buffer.row
        if words <= _MAX_RUN:
            return Pattern(offset=offset, scratch=buffer.start, run=(words, 1))
        return Pattern(
            offset=offset, scratch=buffer.start, run=(buffer.row, 1), first=(rows, buffer.row, buffer.row)
        )  # fmt: skip

    # MATMUL

    def linear(
        self, node: Node, source: Buffer, rows: int, dest: Buffer, outputs: int, kind: Kind, *,
        part: str = "", first: int = 0, transpose: int = 0, row_max: int | None = None,
    ) -> Task:  # fmt: skip
        """A weight matrix from the MODEL region, with bias and requantization per channel.

        `outputs` of them from output `first` on, a multiple of cols; fewer than all of the rest must be whole tiles.
        """
        blob, cols = self.blobs[node.name + part], self.config.cols
        operands = {
            **_tokens(source, rows), "outputs": outputs,
            "dest": dest.start * self._word, "dest_row": 1 if transpose else dest.row * self._word,
            "dest_col": transpose, "transpose": int(transpose > 0), "kind": kind, "per_channel": 1,
        }  # fmt: skip
        tile = cols * (source.row + param_words(self.config))
        stream = Stream(Region.MODEL, blob.offset + first // cols * tile, -(-outputs // cols) * tile)
        return self._matmul(node, operands, (source.access(),), dest, stream, row_max)

    def scores(
        self, node: Node, quant: Node, head: int, query: Buffer, rows: int, passes: int, keys: int, dest: Buffer,
        stream: Stream, *, row_max: int | None = None,
    ) -> Task:  # fmt: skip
        """Q @ K.T of one head, int8 scores; `query` begins with the head's words."""
        operands = {
            "source": query.start, "source_row": query.row, "rows": rows, "passes": passes, "outputs": keys,
            "dest": dest.start * self._word, "dest_row": dest.row * self._word, "kind": Kind.INT8,
            **self._dyadic(quant, head=head),
        }  # fmt: skip
        return self._matmul(node, operands, (query.access(),), dest, stream, row_max)

    def context(
        self, node: Node, quant: Node, weights: Buffer, head: int, rows: int, outputs: int, dest: Buffer, *,
        stream: Stream, factors: Mapping[str, int] | None = None,
    ) -> Task:  # fmt: skip
        """P @ V of one head, [rows, outputs], beside the other heads. `factors` replace those of `quant`."""
        if dest.plane * self._word > _MOST_BYTES:
            raise CompileError(
                f"{dest.name} wants {dest.plane * self._word} bytes from one plane to the other, and MATMUL has at "
                f"most {_MOST_BYTES}; fewer tokens at a time, or inputs of 8 bits, fit"
            )
        operands = {
            **_tokens(weights, rows), "outputs": outputs,
            "dest": dest.start * self._word + head * outputs, "dest_row": dest.row * self._word,
            "kind": Kind.PLANES if dest.plane else Kind.INT8, "dest_col": dest.plane * self._word,
            **(self._dyadic(quant, head=head, channels=outputs) if factors is None else factors),
        }  # fmt: skip
        return self._matmul(node, operands, (weights.access(),), dest, stream, None)

    def column_sums(
        self, node: Node, quant: Node | None, planes: Buffer, channels: int, dest: Buffer, first: int, ones: Stream
    ) -> Task:
        """Elements of `dest` from number `first` on = sums of rows of `planes`, two of each of the `channels`.

        They are int16 by way of `quant`, or int32. `ones` are the column that rows are multiplied by.
        """
        kind, size = (Kind.INT16, 2) if quant else (Kind.INT32, 4)
        operands = {
            "source": planes.start, "source_row": 2 * planes.row, "source_plane": planes.row, "two_planes": 1,
            "rows": channels, "passes": planes.row, "outputs": 1, "dest": dest.start * self._word + size * first,
            "dest_row": size, "kind": kind, **(self._dyadic(quant) if quant else {}),
        }  # fmt: skip
        return self._matmul(node, operands, (planes.access(),), dest, ones, None)

    def transpose(self, node: Node, source: Buffer, rows: int, dest: Buffer, identity: str) -> Task:
        """The first word of int8 rows -> rows of `dest`, one per channel, by way of the blob `identity`."""
        operands = {
            "source": source.start, "source_row": source.row, "rows": rows, "passes": 1, "outputs": self._word,
            "dest": dest.start * self._word, "dest_row": 1, "dest_col": dest.row * self._word, "transpose": 1,
            "kind": Kind.INT8, "mult": 1 << 30, "shift": 30,
        }  # fmt: skip
        blob = self.blobs[identity]
        stream = Stream(Region.MODEL, blob.offset, blob.words)
        return self._matmul(node, operands, (source.access(),), dest, stream, None)

    def _matmul(
        self, node: Node, operands: dict[str, int], reads: tuple[Access, ...], dest: Buffer, stream: Stream,
        row_max: int | None,
    ) -> Task:  # fmt: skip
        writes: tuple[Access, ...] = (dest.access(),)
        if row_max is not None:
            operands |= {"track_max": 1, "row_max": row_max}
            writes += (_bank("row_max", row_max),)
        cost = matmul_cost(operands, self.config, self._memory)
        fetch = stream_cost(stream.words, self.config, self._memory)
        return Task(Op.MATMUL, operands, *cost, node.name, reads, writes, stream, fetch)

    # VECTOR

    def softmax_sum(
        self, node: Node, head: int, scores: Buffer, rows: int, length: int, stats: int, *, row_max: int | None,
        masked: int = 0,
    ) -> Task:  # fmt: skip
        """Factors of rows of `length` scores; `masked` more of each row are not there. No `row_max`: ADD_MAX's."""
        op, _, names, _ = _SOFTMAX[node.op]
        operands = {
            **_rows(scores, rows, length), "row_max": row_max or 0, "own_max": int(row_max is None), "stats": stats,
            **{name: self._constant(node, name, head) for name in names},
        }  # fmt: skip
        if op == Op.SHIFTMAX_SUM:  # others do not count what is masked
            operands["start"] = masked * operands["i0"]
        reads = (scores.access(), *(() if row_max is None else (_bank("row_max", row_max),)))
        return self._vector(op, operands, node, reads, (_bank("stats", stats),))

    def softmax(
        self, node: Node, head: int, scores: Buffer, rows: int, length: int, stats: int, dest: Buffer, *,
        row_max: int | None,
    ) -> Task:  # fmt: skip
        _, op, names, more = _SOFTMAX[node.op]
        operands = {
            **_rows(scores, rows, length, dest), "row_max": row_max or 0, "own_max": int(row_max is None),
            "stats": stats, **{name: self._constant(node, name, head) for name in (*names, *more)},
        }  # fmt: skip
        reads = (scores.access(), *(() if row_max is None else (_bank("row_max", row_max),)), _bank("stats", stats))
        return self._vector(op, operands, node, reads, (dest.access(),))

    def moments(
        self, node: Node, source: Buffer, rows: int, length: int, stats: int, *, wide: int = 1
    ) -> Iterator[Task]:
        """Mean and factor of rows, by one pass over them or two."""
        for op in _MOMENTS[node.op]:
            operands = {**_rows(source, rows, length), "stats": stats, "wide_source": wide}
            reads = (source.access(), *((_bank("stats", stats),) if op != _MOMENTS[node.op][0] else ()))
            if op == Op.INT_DEVIATION:
                operands["norm_shift"] = node.attributes["shift"]
            yield self._vector(op, operands, node, reads, (_bank("stats", stats),))

    def layer_norm(
        self, node: Node, source: Buffer, rows: int, length: int, stats: int, params: Buffer, dest: Buffer, *,
        wide: int = 1, wide_dest: int = 0,
    ) -> Task:  # fmt: skip
        operands = {
            **_rows(source, rows, length, dest), "stats": stats, "wide_source": wide, "wide_dest": wide_dest,
            "params": params.start,
        }  # fmt: skip
        reads = (source.access(), params.access(), _bank("stats", stats))
        return self._vector(Op.LAYER_NORM, operands, node, reads, (dest.access(),))

    def power_factors(
        self, node: Node, source: Buffer, rows: int, length: int, params: Buffer, dest: Buffer, *, wide: int = 1
    ) -> Task:
        """int16 rows of `dest` = those of `source` with the node's factors."""
        operands = {
            **_rows(source, rows, length, dest), "wide_source": wide, "wide_dest": 1, "params": params.start,
            "norm_shift": node.attributes["shift"],
        }  # fmt: skip
        return self._vector(Op.POWER_FACTORS, operands, node, (source.access(), params.access()), (dest.access(),))

    def gelu(self, node: Node, quant: Node, hidden: Buffer, rows: int, length: int, bank: int, dest: Buffer) -> Task:
        """ShiftGELU, in place, or the high plane in place."""
        operands = {
            **_rows(hidden, rows, length, dest), "i0": node.attributes["i0"], "row_max": bank, **self._dyadic(quant),
        }  # fmt: skip
        reads = (hidden.access(), _bank("row_max", bank))
        return self._vector(Op.SHIFT_GELU, operands, node, reads, (dest.access(),))

    def int_gelu(self, node: Node, quant: Node, hidden: Buffer, rows: int, length: int, dest: Buffer) -> Task:
        """I-BERT's GELU of int16 rows; int8 ones take the place of the first half of them."""
        constants = {name: node.attributes[name] for name in ("b", "c")}
        operands = {**_rows(hidden, rows, length, dest), "wide_source": 1, **constants, **self._dyadic(quant)}
        return self._vector(Op.INT_GELU, operands, node, (hidden.access(),), (dest.access(),))

    def table(self, node: Node, source: Buffer, rows: int, length: int, entries: Buffer, dest: Buffer) -> Task:
        """Results of a table, in place, or the high plane in place."""
        operands = {**_rows(source, rows, length, dest), "params": entries.start}
        return self._vector(Op.TABLE, operands, node, (source.access(), entries.access()), (dest.access(),))

    def add(
        self, node: Node, branch: Buffer, identity: Buffer, dest: Buffer, rows: int, length: int, *,
        wide: tuple[int, int, int] = (1, 1, 1), factors: Mapping[str, int] | None = None,
    ) -> Task:  # fmt: skip
        """dest = branch + identity, which may be one of them; `wide`: which of branch, identity and dest are int16.

        `factors` replace the node's own. Raises CompileError for a scale ratio at which an operand could leave the
        adder's 27 bits.
        """
        factors = self._factors(node) if factors is None else factors
        self._check_gain(node, factors, wide)
        operands = {
            **self._sum(branch, identity, dest, rows, length), **factors,
            "wide_source": wide[0], "wide_identity": wide[1], "wide_dest": wide[2],
        }  # fmt: skip
        return self._vector(Op.ADD, operands, node, (branch.access(), identity.access()), (dest.access(),))

    def add_max(self, node: Node, scores: Buffer, bias: Buffer, rows: int, length: int, stats: int) -> Task:
        """scores += bias, int8 in place; the largest of each row goes to the statistics bank."""
        factors = self._factors(node)
        self._check_gain(node, factors, (0, 0, 0))
        operands = {**self._sum(scores, bias, scores, rows, length), **factors, "stats": stats}
        reads, writes = (scores.access(), bias.access()), (scores.access(), _bank("stats", stats))
        return self._vector(Op.ADD_MAX, operands, node, reads, writes)

    def requantize(
        self, node: Node, source: Buffer, dest: Buffer, rows: int, length: int, *, wide: tuple[int, int],
        factors: Mapping[str, int] | None = None,
    ) -> Task:  # fmt: skip
        """dest = source rescaled: an addition of nothing. `wide`: whether source and dest are int16."""
        factors = {**(self._dyadic(node) if factors is None else factors), "mult_identity": 0, "shift_identity": 0}
        return self.add(node, source, source, dest, rows, length, wide=(wide[0], *wide), factors=factors)

    @staticmethod
    def _sum(branch: Buffer, identity: Buffer, dest: Buffer, rows: int, length: int) -> dict[str, int]:
        second = {"identity": identity.start, "identity_row": identity.row}
        return {**_rows(branch, rows, length, dest), **second}

    def _factors(self, node: Node) -> dict[str, int]:
        """Both dyadic factors of an addition."""
        return {**self._dyadic(node), **self._dyadic(node, "_identity")}

    @staticmethod
    def _check_gain(node: Node, factors: Mapping[str, int], wide: tuple[int, int, int]) -> None:
        for suffix, most in (("", _MOST_GAIN[wide[0]]), ("_identity", _MOST_GAIN[wide[1]])):
            if factors[f"mult{suffix}"] >> factors[f"shift{suffix}"] >= most:
                raise CompileError(
                    f"{node.name} scales an operand by {most} or more, beyond the adder's {ADDEND_BITS} bits"
                )

    def rows_through(
        self, op: Op, node: Node, source: Buffer, dest: Buffer, rows: int, length: int, **operands: int
    ) -> Task:
        """Rows of `source` through an opcode that needs nothing else, to `dest`; `operands` are its own."""
        operands = {**_rows(source, rows, length, dest), **operands}
        return self._vector(op, operands, node, (source.access(),), (dest.access(),))

    def _vector(
        self, op: Op, operands: dict[str, int], node: Node, reads: tuple[Access, ...], writes: tuple[Access, ...]
    ) -> Task:
        row = row_of(op)
        assert row is not None
        if not row.is_in(self.config.vector):
            unit = node.op if node.op in row.units else row.unit
            raise UnitError(
                f"model {self._model.name} needs the unit {unit} (node {node.name}), and this configuration has "
                f"{', '.join(self.config.vector)}"
            )
        return Task(op, operands, *vector_cost(row, operands, self.config), node.name, reads, writes)

    def _dyadic(self, node: Node, suffix: str = "", *, head: int | None = None, channels: int = 1) -> dict[str, int]:
        """The node's one factor, or that of a `head`. Raises CompileError if it has others, or a negative one."""
        mult, shift = (self._constant(node, f"{name}{suffix}", head, channels) for name in ("mult", "shift"))
        if mult < 0:
            raise CompileError(f"mult of {node.name} must not be negative, as {mult} is: only a norm's may be")
        return {f"mult{suffix}": mult, f"shift{suffix}": shift}

    def _constant(self, node: Node, name: str, head: int | None, channels: int = 1) -> int:
        """The number that tensor `name` has for everything, or for a head, which has it once or for its `channels`."""
        key = (node.name, name, head, channels)
        if key not in self._constants:
            self._constants[key] = self._one(node, name, head, channels)
        return self._constants[key]

    def _one(self, node: Node, name: str, head: int | None, channels: int) -> int:
        tensor = self._model.tensor(node, name)
        values = tensor.reshape(-1)
        fits = tensor.size == 1 or (head is not None and tensor.ndim == (1 if channels > 1 else 3))
        if head is not None and tensor.size > 1:
            values = values[head * channels : (head + 1) * channels]
        if not fits or np.any(values != values[0]):
            each = "" if head is None else " for each head"
            raise CompileError(
                f"{node.name} must have one {name}{each}, not {tensor.size}: no table is read where it stands"
            )
        return int(values[0])

"""Instructions of a ViT as tasks: operands, accesses and rough costs, one method per kind of step."""

from __future__ import annotations

from firmware.compiler.allocator import Buffer
from firmware.compiler.costs import matmul_cost, transfer_cost, vector_cost
from firmware.compiler.dependencies import Access
from firmware.compiler.image import ModelImage
from firmware.compiler.pattern import VisionTransformer
from firmware.compiler.program import CompileError
from firmware.compiler.scheduler import Stream, Task
from hw.spec.config import Config
from hw.spec.isa import Kind, Op, Region
from hw.spec.model import Model, Node

__all__ = ["Tasks"]

_MOST_GAIN = 1 << 10  # int16 times less than 2^10, rounded, stays within 27 bits
_MAX_RUN = 1 << 12  # words of a LOAD or STORE run: the operand's width


def _bank(space: str, bank: int) -> Access:
    return Access(space, bank, bank + 1)


class Tasks:
    """Makes tasks for one model on one configuration."""

    def __init__(self, model: Model, roles: VisionTransformer, config: Config, image: ModelImage) -> None:
        self._model, self._roles, self._config, self._image = model, roles, config, image
        self._word = config.word_bytes

    # LOAD and STORE

    def load(
        self, node: Node, region: Region, offset: int, buffer: Buffer, rows: int, reads: tuple[Access, ...]
    ) -> Task:
        """Contiguous memory -> the first `rows` rows of `buffer`."""
        operands = self._linear_transfer(region, offset, buffer, rows)
        return Task(
            Op.LOAD,
            operands,
            *transfer_cost(rows * buffer.row, rows * buffer.row),
            node.name,
            reads,
            (buffer.access(),),
        )

    def store(
        self, node: Node, region: Region, offset: int, buffer: Buffer, rows: int, writes: tuple[Access, ...]
    ) -> Task:
        """The first `rows` rows of `buffer` -> contiguous memory."""
        operands = self._linear_transfer(region, offset, buffer, rows)
        return Task(
            Op.STORE,
            operands,
            *transfer_cost(rows * buffer.row, rows * buffer.row),
            node.name,
            (buffer.access(),),
            writes,
        )

    def scatter(
        self, node: Node, offset: int, buffer: Buffer, start: int, *,
        run: tuple[int, int], first: tuple[int, int, int], second: tuple[int, int, int],
    ) -> Task:  # fmt: skip
        """Scratchpad -> WORK; run = (words, scratchpad step), others = (count, memory step, scratchpad step)."""
        operands = {
            "region": Region.WORK, "offset": offset, "scratch": start, "run": run[0], "scratch0": run[1],
            "count1": first[0], "offset1": first[1], "scratch1": first[2],
            "count2": second[0], "offset2": second[1], "scratch2": second[2],
        }  # fmt: skip
        last = run[0] - 1 + (first[0] - 1) * first[1] + (second[0] - 1) * second[1]
        cost = transfer_cost(run[0] * first[0] * second[0], run[0])
        writes = (Access("work", offset, offset + last + 1),)
        return Task(Op.STORE, operands, *cost, node.name, (buffer.access(),), writes)

    def _linear_transfer(self, region: Region, offset: int, buffer: Buffer, rows: int) -> dict[str, int]:
        words = rows * buffer.row
        operands = {"region": region, "offset": offset, "scratch": buffer.start, "scratch0": 1}
        if words <= _MAX_RUN:
            return {**operands, "run": words, "count1": 1, "count2": 1}
        return {
            **operands, "run": buffer.row, "count1": rows, "offset1": buffer.row, "scratch1": buffer.row, "count2": 1,
        }  # fmt: skip

    # MATMUL

    def linear(
        self, node: Node, source: Buffer, rows: int, dest: Buffer, outputs: int, kind: Kind, *,
        part: str = "", transpose: int = 0, row_max: int | None = None,
    ) -> Task:  # fmt: skip
        """A weight matrix from the MODEL region, with bias and requantization per channel."""
        blob = self._image.blobs[node.name + part]
        operands = {
            "source": source.start, "source_row": source.row, "rows": rows, "passes": source.row, "outputs": outputs,
            "dest": dest.start * self._word, "dest_row": 1 if transpose else dest.row * self._word,
            "dest_col": transpose, "transpose": int(transpose > 0), "kind": kind, "per_channel": 1,
        }  # fmt: skip
        stream = Stream(Region.MODEL, blob.offset, blob.words)
        return self._matmul(node, operands, (source.access(),), dest, stream, row_max)

    def scores(
        self, node: Node, quant: Node, query: Buffer, head: int, rows: int, dest: Buffer, bank: int, stream: Stream
    ) -> Task:
        """Q @ K.T of one head, int8 scores, with row maxima."""
        passes = query.row // self._roles.heads
        operands = {
            "source": query.start + head * passes, "source_row": query.row, "rows": rows, "passes": passes,
            "outputs": self._roles.tokens, "dest": dest.start * self._word, "dest_row": dest.row * self._word,
            "kind": Kind.INT8, **self._dyadic(quant),
        }  # fmt: skip
        return self._matmul(node, operands, (query.access(),), dest, stream, bank)

    def context(
        self, node: Node, quant: Node, weights: Buffer, head: int, rows: int, dest: Buffer, wide: bool, stream: Stream
    ) -> Task:
        """P @ V of one head, int8, beside the other heads."""
        head_dim = self._roles.dim // self._roles.heads
        operands = {
            "source": weights.start, "source_row": weights.row, "source_plane": rows * weights.row if wide else 0,
            "two_planes": int(wide), "rows": rows, "passes": weights.row, "outputs": head_dim,
            "dest": dest.start * self._word + head * head_dim, "dest_row": dest.row * self._word, "kind": Kind.INT8,
            **self._dyadic(quant),
        }  # fmt: skip
        return self._matmul(node, operands, (weights.access(),), dest, stream, None)

    def _matmul(
        self, node: Node, operands: dict[str, int], reads: tuple[Access, ...], dest: Buffer, stream: Stream,
        row_max: int | None,
    ) -> Task:  # fmt: skip
        writes: tuple[Access, ...] = (dest.access(),)
        if row_max is not None:
            operands |= {"track_max": 1, "row_max": row_max}
            writes += (_bank("row_max", row_max),)
        cost = matmul_cost(operands, self._config)
        return Task(Op.MATMUL, operands, *cost, node.name, reads, writes, stream)

    # VECTOR

    def softmax_sum(self, node: Node, scores: Buffer, rows: int, bank: int, stats: int) -> Task:
        operands = {
            "source": scores.start, "source_row": scores.row, "rows": rows, "length": self._roles.tokens,
            "i0": node.attributes["i0"], "row_max": bank, "stats": stats,
        }  # fmt: skip
        reads = (scores.access(), _bank("row_max", bank))
        return self._vector(Op.SHIFTMAX_SUM, operands, node, reads, (_bank("stats", stats),))

    def softmax(self, node: Node, scores: Buffer, rows: int, bank: int, stats: int, dest: Buffer) -> Task:
        wide = node.attributes["bits"] == 16
        operands = {
            "source": scores.start, "source_row": scores.row, "dest": dest.start, "dest_row": dest.row, "rows": rows,
            "length": self._roles.tokens, "i0": node.attributes["i0"], "row_max": bank, "stats": stats,
            "wide": int(wide), "dest_plane": rows * dest.row if wide else 0,
        }  # fmt: skip
        reads = (scores.access(), _bank("row_max", bank), _bank("stats", stats))
        return self._vector(Op.SHIFTMAX, operands, node, reads, (dest.access(),))

    def moments(self, node: Node, residual: Buffer, rows: int, stats: int) -> Task:
        operands = {
            "source": residual.start, "source_row": residual.row, "rows": rows, "length": self._roles.dim,
            "stats": stats, "wide_source": 1,
        }  # fmt: skip
        return self._vector(Op.MOMENTS, operands, node, (residual.access(),), (_bank("stats", stats),))

    def layer_norm(self, node: Node, residual: Buffer, rows: int, stats: int, params: Buffer, dest: Buffer) -> Task:
        operands = {
            "source": residual.start, "source_row": residual.row, "dest": dest.start, "dest_row": dest.row,
            "rows": rows, "length": self._roles.dim, "stats": stats, "wide_source": 1, "wide_dest": 0,
            "params": params.start,
        }  # fmt: skip
        reads = (residual.access(), params.access(), _bank("stats", stats))
        return self._vector(Op.LAYER_NORM, operands, node, reads, (dest.access(),))

    def gelu(self, node: Node, quant: Node, hidden: Buffer, rows: int, bank: int) -> Task:
        """ShiftGELU in place."""
        operands = {
            "source": hidden.start, "source_row": hidden.row, "dest": hidden.start, "dest_row": hidden.row,
            "rows": rows, "length": self._roles.hidden, "i0": node.attributes["i0"], "row_max": bank,
            **self._dyadic(quant),
        }  # fmt: skip
        reads = (hidden.access(), _bank("row_max", bank))
        return self._vector(Op.SHIFT_GELU, operands, node, reads, (hidden.access(),))

    def add(self, node: Node, branch: Buffer, residual: Buffer, rows: int, first: int) -> Task:
        """residual rows first.. = branch + residual, in place.

        Raises CompileError for a scale ratio at which an operand could leave the adder's 27 bits.
        """
        for suffix in ("", "_identity"):
            factor = self._dyadic(node, suffix)
            if factor[f"mult{suffix}"] >> factor[f"shift{suffix}"] >= _MOST_GAIN:
                raise CompileError(f"{node.name} scales an operand by {_MOST_GAIN} or more, beyond the adder's 27 bits")
        target = residual.at(first)
        operands = {
            "source": branch.start, "source_row": branch.row, "dest": target, "dest_row": residual.row,
            "identity": target, "identity_row": residual.row, "rows": rows, "length": self._roles.dim,
            "wide_source": 1, "wide_identity": 1, "wide_dest": 1,
            **self._dyadic(node), **self._dyadic(node, "_identity"),
        }  # fmt: skip
        reads = (branch.access(), residual.access())
        return self._vector(Op.ADD, operands, node, reads, (residual.access(),))

    def _vector(
        self, op: Op, operands: dict[str, int], node: Node, reads: tuple[Access, ...], writes: tuple[Access, ...]
    ) -> Task:
        return Task(op, operands, *vector_cost(op, operands, self._config), node.name, reads, writes)

    def _dyadic(self, node: Node, suffix: str = "") -> dict[str, int]:
        return {
            f"{name}{suffix}": int(self._model.tensor(node, f"{name}{suffix}").reshape(-1)[0])
            for name in ("mult", "shift")
        }

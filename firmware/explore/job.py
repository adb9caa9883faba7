"""What a worker does: configurations that share a program -> each one's cycles, or why there are none."""

from __future__ import annotations

import functools
from collections.abc import Hashable
from dataclasses import dataclass, fields, replace
from itertools import chain
from pathlib import Path

import firmware
from firmware.caches import digest
from firmware.compiler import CompileError, Program, compile_model
from firmware.errors import UserError
from firmware.estimate import cycle_model, estimate, memory_bytes
from firmware.explore.space import Settings, configured, part_board
from firmware.model_file import load_model, model_digest
from firmware.transport import DeviceError
from hw import spec
from hw.boards.board import Board
from hw.boards.registry import find
from hw.spec.config import Config
from hw.spec.isa import Op
from hw.spec.model import Model
from hw.spec.vector import row_of

__all__ = ["UNREAD", "Job", "Outcome", "content_key", "program_key"]

UNREAD = ("vector", "array", "queue_depth", "stream_words", "burst_beats")
"""Fields of a Config that programs do not depend on; those of `vector` decide only whether there is one."""


@dataclass(frozen=True)
class Outcome:
    """Of one configuration: cycles and executed MACs per image, or a sentence why it has no program."""

    cycles: float = 0.0
    macs: int = 0
    refused: str = ""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is explored. Workers open the model themselves and check that it is the same: paths must be shared."""

    model: str
    model_digest: str
    tokens: int | None
    board: str  # a name or file, whose settings the points change; nothing: a part of its own
    images: int

    def run(self, batch: tuple[Settings, ...]) -> list[Outcome]:
        """Of each of these settings, which should have programs alike: the last one compiled is kept.

        Raises UserError if something is not installed, or the model is another.
        """
        board = find(self.board) if self.board else part_board({})
        return [self._outcome(configured(board, settings)) for settings in batch]

    def _outcome(self, board: Board) -> Outcome:
        try:
            found = estimate(_program(self, board), board)
        except (CompileError, DeviceError) as error:
            return Outcome(refused=str(error))
        return Outcome(found.cycles_per_image, found.macs)


def program_key(board: Board) -> Hashable:
    """Boards for which this is equal have equal programs, if they have any."""
    config = board.config
    return tuple((f.name, getattr(config, f.name)) for f in fields(config) if f.name not in UNREAD), board.core_memory


def content_key(job: Job, board: Board) -> str:
    """Of everything that decides an Outcome: sources, model, configuration, memory; not the clock by itself."""
    place = (board.config, board.core_memory, memory_bytes(board))
    return digest(_sources(), job.model_digest, str(job.tokens), str(job.images), *map(repr, place))


def _program(job: Job, board: Board) -> Program:
    """Compiled for `board`, or for another one with the same program."""
    key = job, program_key(board)
    kept = _kept.get(key)
    if kept is None or not all(_legal(op, board.config) for op in kept[1]):
        program = compile_model(_model(job), board, batch=job.images)
        _kept.clear()
        kept = _kept[key] = program, frozenset(instruction.op for instruction in program.disassemble())
    return replace(kept[0], config=board.config)


_kept: dict[Hashable, tuple[Program, frozenset[Op]]] = {}  # the last program, and its opcodes


def _legal(op: Op, config: Config) -> bool:
    row = row_of(op)
    return row is None or row.is_in(config.vector)


@functools.lru_cache(1)
def _model(job: Job) -> Model:
    if model_digest(job.model) != job.model_digest:
        raise UserError(f"model {job.model} is not the one that the exploration began with")
    model = load_model(job.model)
    return model if job.tokens is None else model.of_tokens(job.tokens)


@functools.cache
def _sources() -> str:
    """Of compiler, cycle model, and the gateware whose latencies that one reads."""
    ours, gateware = Path(firmware.__file__).parent, Path(spec.__file__).parents[1]
    planners = ((ours / name).rglob("*.py") for name in ("planner", "families"))
    designs = (path for path in gateware.rglob("*.py") if path.parent.name != "build")
    model = Path(cycle_model().__code__.co_filename).parent.rglob("*.py")
    paths = chain(ours.glob("*.py"), [Path(__file__)], *planners, designs, model)
    texts = (f"{path.parent.name}/{path.name}\n{path.read_text()}" for path in paths)
    return digest(*sorted(texts))

"""What the compiler makes: a program, the memory it expects, and the layers it came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from hw.boards.memory import Memory
from hw.spec import isa
from hw.spec.config import Config
from hw.spec.memory import align
from hw.spec.model import Model
from hw.spec.operators.patch_embed import patches

__all__ = ["Checkpoint", "CompileError", "Layer", "Program", "UnitError"]

_TEXTS = 1 << 20  # bytes: for 512 tokens, MiniLM's 6 blocks have 28,000 instructions of 32 bytes


class CompileError(ValueError):
    """A model that cannot run on a configuration; the message names what, the size wanted and the size there."""


class UnitError(CompileError):
    """A model that needs a unit of the VECTOR engine that is not built, however it is planned."""


@dataclass
class Layer:
    """One operator of the model: who executes it, as ordinals in each engine's own instruction order."""

    name: str
    op: str
    macs: int
    instructions: dict[isa.Engine, list[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """After the first `instructions`, `tensor` (int16 [tokens, dim]) of image 0, or its first rows, is in WORK."""

    tensor: str
    instructions: int
    offset: int  # bytes of WORK before it
    rows: int  # that are computed


@dataclass(frozen=True, kw_only=True)
class Program:
    """A compiled model for `images` images per run.

    Regions are relative: the host chooses their bases. ``model_image`` is the MODEL region's content; INPUT holds
    ``pack_images``'s bytes and OUTPUT the raw logits that ``unpack_logits`` reads. ``estimated_cycles`` is the
    scheduler's estimate of one run, not a simulation.
    """

    config: Config
    model: Model
    code: bytes
    images: int
    model_image: NDArray[np.uint8]
    work_bytes: int
    layers: list[Layer]
    counts: Mapping[isa.Engine, int]
    estimated_cycles: int
    tiles: tuple[int, ...]  # tokens of each super-tile; the sizes of those of a Swin that an MLP takes at a time
    slots: int  # super-tiles in flight
    text: bool = False  # an image is a text, a row of bytes for each token
    scratch_words: int = 0  # of the scratchpad that any instruction uses
    memory: Memory = field(default_factory=Memory)  # that it was planned for
    checkpoints: tuple[Checkpoint, ...] = ()  # only with one image per run

    @property
    def instructions(self) -> int:
        return len(self.code) // isa.INSTRUCTION_BYTES

    @property
    def code_room(self) -> int:
        """Bytes that the code's place has at least: constants stay where they are while texts of other lengths run."""
        return _TEXTS if self.text else 0

    @property
    def patch_bytes(self) -> int:
        """Bytes of one patch row, C*P*P, or of one token's row of a text, padded to whole words."""
        channels, _, width = self.model.image
        return align(width if self.text else channels * self.model.patch**2, self.config.word_bytes)

    @property
    def patches(self) -> int:
        """Patches of one image, or tokens of a text."""
        _, height, width = self.model.image
        return height if self.text else (height // self.model.patch) * (width // self.model.patch)

    @property
    def input_bytes(self) -> int:
        """INPUT bytes of one run."""
        return self.images * self.patches * self.patch_bytes

    @property
    def output_bytes(self) -> int:
        """OUTPUT bytes of one run."""
        return self.images * align(4 * self.model.classes, self.config.word_bytes)

    @property
    def macs(self) -> int:
        """MACs of one run: those of the model that are executed, because they reach its outputs."""
        return sum(layer.macs for layer in self.layers)

    def pack_images(self, images: NDArray[np.int8]) -> NDArray[np.uint8]:
        """INPUT bytes of int8 images [images, C, H, W]: one row per patch, in (channel, y, x) order, or per token.

        Raises ValueError unless the shape and type are the model's.
        """
        channels, height, width = self.model.image
        if images.shape[1:] != self.model.image or images.dtype != np.int8:
            raise ValueError(
                f"images must be int8 [n, {channels}, {height}, {width}], not {images.dtype} {images.shape}"
            )
        rows = images[:, 0] if self.text else patches(images, self.model.patch)
        padded = np.zeros((*rows.shape[:2], self.patch_bytes), np.int8)
        padded[..., : rows.shape[2]] = rows
        return padded.reshape(-1).view(np.uint8)

    def unpack_logits(self, raw: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Logit accumulators [n, classes] of any number of runs' OUTPUT bytes."""
        rows = np.ascontiguousarray(raw).view("<i4").reshape(-1, self.output_bytes // self.images // 4)
        return rows[:, : self.model.classes].astype(np.int32)

    def until(self, checkpoint: Checkpoint) -> Program:
        """The program cut off at a checkpoint, to see what the device had computed by then."""
        cut = self.code[: checkpoint.instructions * isa.INSTRUCTION_BYTES] + isa.encode(isa.Op.HALT)
        return replace(self, code=cut, layers=[], checkpoints=())

    def disassemble(self) -> Iterator[isa.Instruction]:
        """The program's instructions, decoded."""
        size = isa.INSTRUCTION_BYTES
        for at in range(0, len(self.code), size):
            yield isa.decode(self.code[at : at + size])

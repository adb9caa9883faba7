"""What a family of networks is: everything that compiler, importer and quantizer ask about one.

A family has a folder of its own, whose package makes an instance of a subclass of `Family` and gives it to
`firmware.families.register`. To be compiled it needs `has_graph` and `place`; to be made from checkpoints also
`has_tensors`, `tensor`, `examine` and `build`; to have models without training `architectures` and `random_weights`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from numpy.typing import NDArray

from firmware.errors import UserError
from firmware.families.architecture import Architecture
from firmware.families.weights import Weights
from firmware.graph.builder import Builder
from firmware.planner.placed import Job, Placed
from hw.spec.model import Model, ModelError

__all__ = ["POOLS", "Family", "Stage", "Wanted"]

Array = NDArray[Any]

POOLS = ("token", "avg")
"""What a ViT's head reads, by timm's names: the class token, or the mean of the patches' tokens."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Blocks of equal sizes, for a person to read."""

    blocks: int
    tokens: int
    width: int
    heads: int
    hidden: int
    macs: int
    window: int | None = None  # its side
    shifted: int = 0  # blocks whose windows are shifted


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A graph to be built of a checkpoint. Raises ModelError for attention bits that there are not."""

    names: Collection[str]  # of its tensors, official ones
    image: tuple[int, int, int]  # C, H, W
    patch: int | None = None  # checked if given
    heads: int | None = None  # of the first stage, if known
    attention_bits: int | None = None  # 8 or 16; the family's own choice if not given
    pool: str | None = None  # "token" or "avg": what a head reads; the family's own choice if not given

    def __post_init__(self) -> None:
        if self.pool not in {None, *POOLS}:
            raise ModelError(f"pool must be one of {', '.join(POOLS)}, not {self.pool!r}")
        if self.attention_bits not in {None, 8, 16}:
            raise ModelError(f"attention_bits must be 8 or 16, not {self.attention_bits}")


class Family(ABC):
    """One family. Its methods are pure: they may be asked in any order, any number of times."""

    name: ClassVar[str]
    """How programs call it."""

    titles: ClassVar[tuple[str, ...]]
    """How people call its networks."""

    architectures: ClassVar[tuple[Architecture, ...]] = ()
    """The published ones, under timm's names."""

    tensor: ClassVar[re.Pattern[str]] = re.compile(r"(?!)")
    """Names that a checkpoint's tensors may have, all of each: a tensor of another name makes another network."""

    constants: ClassVar[tuple[str, ...]] = ()
    """Ends of the names of tensors that the graph reads as they are, neither weights nor norms."""

    epsilon: ClassVar[float] = 1e-6
    """What timm's LayerNorms add to a variance."""

    text: ClassVar[bool] = False
    """Whether its images are texts: rows of embeddings [1, tokens, dim]."""

    # Integer models

    @abstractmethod
    def has_graph(self, model: Model) -> bool:
        """Whether `model` is one of this family, right or wrong: told by an operator that no other family has."""

    @abstractmethod
    def place(self, job: Job) -> Placed:
        """The program that does the job. Raises CompileError, in one sentence, where there is none."""

    def stages(self, model: Model) -> Sequence[Stage]:
        """Its blocks, stage by stage; nothing for a graph that is not quite this family's."""
        del model
        return ()

    # Checkpoints

    def has_tensors(self, names: Collection[str]) -> bool:
        """Whether tensors of these names, official or timm's, are a network of this family."""
        del names
        return False

    def examine(self, state: Mapping[str, Array], size: tuple[int, int] | None = None) -> Architecture:
        """The architecture that the shapes of the tensors spell. Raises UserError for what is missing or impossible.

        `size` is the image that is wanted, which a float network may be fitted to.
        """
        del state, size
        raise UserError(f"the tensors of a {self.titles[0]} do not say what architecture it is")

    def untold(self, state: Mapping[str, Array]) -> Collection[str]:
        """Sizes of `examine`'s answer that are guesses, because the shapes do not tell them."""
        del state
        return ()

    def official_names(self, weights: Mapping[str, Array]) -> dict[str, Array]:
        """timm's tensors under the names and in the form that the graph asks for: the same function of every image.

        Raises UserError for tensors that do not fit one another. Official ones stay as they are.
        """
        return dict(weights)

    def remarks(self, state: Mapping[str, Array], shape: Architecture, told: Collection[str] = ()) -> Sequence[str]:
        """What a person should know of how these tensors become a network of `shape`: sentences.

        That is what is assumed because neither tensors nor a person `told`, and what was changed to fit. What was told
        is by name: "heads", or one of `POOLS`.
        """
        del state, shape, told
        return ()

    def fitted(self, weights: Mapping[str, Array], image: tuple[int, int, int]) -> dict[str, Array]:
        """Official float tensors for another `image`, where that is possible. Raises UserError where it is not."""
        del image
        return dict(weights)

    def build(self, build: Builder, wanted: Wanted) -> Array:
        """Builds the integer graph of a checkpoint. Returns the scales of the logits. Raises ModelError."""
        del build, wanted
        raise ModelError(f"a {self.titles[0]} cannot be made from a checkpoint")

    def stored(self, image: tuple[int, int, int]) -> tuple[int, int, int]:
        """The image of the integer model, in bytes, of normalised floats `image` [C, H, W]."""
        return image

    def longest(self, weights: Mapping[str, Array]) -> int | None:
        """Tokens that a row of scores may have, where that is more than those of the images at hand."""
        del weights
        return None

    # The float network

    def lengths(self, images: Array) -> Array | None:
        """Tokens [n] of each of the `images`, where they differ: what is behind them repeats them and is not read."""
        del images
        return None

    def reader(self, norm: str) -> str | None:
        """The linear that alone reads LayerNorm `norm` through a quantizer; None where others read it, too."""
        del norm
        return None

    def constant(self, name: str, weights: Mapping[str, Array], value: Array) -> Array:
        """The float value, with a batch of one, of the constant node `name`; that of the integer graph is `value`."""
        del name, weights
        return value[None]

    def random_weights(self, shape: Architecture, make: Weights) -> None:
        """A float checkpoint of `shape` with timm's names, without training, made by the tools of `make`."""
        del shape, make
        raise UserError(f"there are no random weights for a {self.titles[0]}")

"""Shapes of networks, and the images they expect: what every family's have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from firmware.errors import UserError

__all__ = ["HALF", "IMAGENET", "Architecture", "text"]

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def text(value: object) -> str:
    """A size, or one per stage, as a person writes it."""
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The shape of one network and the preprocessing it assumes; each family has a subclass, with its own sizes."""

    name: str
    dim: int  # channels of a token, in the first stage
    depths: tuple[int, ...] = ()  # blocks, by stage
    heads: tuple[int, ...] = ()  # by stage
    patch: int = 16
    img_size: int = 224  # the image's height
    img_width: int | None = None  # of an image that is not square
    prefix: int = 0  # tokens before the patches
    classes: int = 1000
    features: bool = False  # there is no head: the result is what a head would read, and `classes` its width
    channels: int = 3
    statistics: tuple[Sequence[float], Sequence[float]] = IMAGENET  # mean and deviation of pixel/255
    crop: float = 0.9  # timm's for images of 224 pixels; I-ViT's validation crops to 0.875

    family: ClassVar[str]  # its name
    words: ClassVar[Mapping[str, str]] = {
        "family": "family", "dim": "width", "depths": "depth", "heads": "heads", "patch": "patch size",
        "img_size": "image size", "classes": "classes",
    }  # fmt: skip
    """What a person calls each size that two networks of a family may differ in."""

    marks: ClassVar[tuple[str, ...]] = ("dim", "depths", "patch")
    """Sizes that are an architecture's own: networks that differ in others are fine-tuned ones."""

    @property
    def image(self) -> tuple[int, int, int]:
        """Channels, height and width of the input."""
        return self.channels, self.img_size, self.img_width or self.img_size

    @property
    def grid(self) -> int:
        """Patches along a side of the image."""
        return self.img_size // self.patch

    @property
    def tokens(self) -> int:
        """Tokens of the first stage: the patches."""
        return self.grid**2

    def alike(self, other: Architecture) -> bool:
        """Whether it is the same architecture, perhaps for other images and classes."""
        return type(self) is type(other) and all(getattr(self, key) == getattr(other, key) for key in self.marks)

    def check(self) -> None:
        """Raises UserError, in one sentence, for a shape that no network can have."""
        for key in ("dim", "img_size", "patch", "classes"):
            if getattr(self, key) < 1:
                raise UserError(f"{key} must be at least 1, not {getattr(self, key)}")
        for key, numbers in (("depth", self.depths), ("heads", self.heads)):
            if any(number < 1 for number in numbers):
                raise UserError(f"{key} must be at least 1, not {', '.join(map(str, numbers))}")
        for size in self.image[1:]:
            if size < 1 or size % self.patch:
                raise UserError(f"the image size {size} is no multiple of the patch size {self.patch}")

    def check_stages(self, stages: int | None = None) -> None:
        """Raises UserError unless depths and heads are one per stage (of `stages`), and heads divide the width.

        The width doubles from stage to stage.
        """
        wanted = stages or max(1, len(self.depths))
        if not len(self.depths) == len(self.heads) == wanted:
            raise UserError(
                f"depth and heads must be a number per stage of {self.name}, not {text(self.depths)} and "
                f"{text(self.heads)}"
            )
        for stage, heads in enumerate(self.heads):
            if (self.dim << stage) % heads:
                raise UserError(f"the width {self.dim << stage} is no multiple of the number of heads {heads}")

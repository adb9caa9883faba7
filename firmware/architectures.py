"""Known architectures: the shapes of published ViTs, DeiTs and Swins, and the images they expect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from firmware.errors import UserError

__all__ = ["ARCHITECTURES", "IMAGENET", "Architecture", "architecture"]

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Shape of a ViT (one stage, no windows) or Swin, and the preprocessing it assumes."""

    name: str
    dim: int  # of the first stage; each merging doubles it
    depths: tuple[int, ...]  # blocks, by stage
    heads: tuple[int, ...]  # by stage
    patch: int = 16
    window: int = 0  # its side, in tokens; 0 for a ViT
    img_size: int = 224
    classes: int = 1000
    channels: int = 3
    statistics: tuple[Sequence[float], Sequence[float]] = IMAGENET  # mean and deviation of pixel/255
    crop: float = 0.9  # timm's for all of these; I-ViT's validation crops to 0.875

    @property
    def family(self) -> str:
        """ "swin", or "vit", which DeiT is too."""
        return "swin" if self.window else "vit"

    @property
    def image(self) -> tuple[int, int, int]:
        """Channels, height and width of the input."""
        return self.channels, self.img_size, self.img_size

    @property
    def grid(self) -> int:
        """Patches along a side of the image."""
        return self.img_size // self.patch

    @property
    def tokens(self) -> int:
        """Tokens of the first stage: patches and the class token of a ViT."""
        return self.grid**2 + (not self.window)


def _vit(name: str, dim: int, depth: int, **others: Any) -> Architecture:
    return Architecture(name=name, dim=dim, depths=(depth,), heads=(dim // 64,), **others)


def _swin(name: str, dim: int, depth: int) -> Architecture:
    heads = tuple(dim // 32 << stage for stage in range(4))
    return Architecture(name=name, dim=dim, depths=(2, 2, depth, 2), heads=heads, patch=4, window=7)


ARCHITECTURES: dict[str, Architecture] = {
    shape.name: shape
    for shape in (
        _vit("deit_tiny_patch16_224", 192, 12),
        _vit("deit_small_patch16_224", 384, 12),
        _vit("deit_base_patch16_224", 768, 12),
        _vit("vit_base_patch16_224", 768, 12, statistics=_HALF),
        _vit("vit_large_patch16_224", 1024, 24, statistics=_HALF),
        _swin("swin_tiny_patch4_window7_224", 96, 6),
        _swin("swin_small_patch4_window7_224", 96, 18),
        _swin("swin_base_patch4_window7_224", 128, 18),
    )
}
"""timm's names."""


def architecture(
    name: str, *, depth: int | Sequence[int] | None = None, heads: int | Sequence[int] | None = None,
    **changes: int | None,
) -> Architecture:  # fmt: skip
    """The architecture called `name`, or the only one that starts so, with `changes` that are not None.

    `depth` and `heads` are one number per stage; a ViT has one. Raises UserError for an unknown name or an impossible
    shape.
    """
    plain = name.partition(".")[0]  # timm names the training behind a dot
    found = [shape for key, shape in ARCHITECTURES.items() if key == plain or key.startswith(f"{plain}_")]
    if len(found) != 1:
        raise UserError(f"there is no architecture {name}; known: {', '.join(ARCHITECTURES)}")
    given: dict[str, Any] = {key: value for key, value in changes.items() if value is not None}
    for key, stages in (("depths", depth), ("heads", heads)):
        if stages is not None:
            given[key] = (stages,) if isinstance(stages, int) else tuple(stages)
    if "window" in given and not (found[0].window and given["window"] > 0):
        raise UserError(f"{found[0].name} cannot have windows of {given['window']} tokens along a side")
    shape = replace(found[0], **given)
    _check(shape)
    return shape


def _check(shape: Architecture) -> None:
    for key in ("dim", "img_size", "patch", "classes"):
        if getattr(shape, key) < 1:
            raise UserError(f"{key} must be at least 1, not {getattr(shape, key)}")
    for key, numbers in (("depth", shape.depths), ("heads", shape.heads)):
        if not numbers or min(numbers) < 1:
            raise UserError(f"{key} must be at least 1, not {', '.join(map(str, numbers))}")
    if len(shape.depths) != len(shape.heads) or (len(shape.depths) > 1 and not shape.window):
        raise UserError(
            f"depth and heads must be a number per stage of {shape.name}, not {_text(shape.depths)} and "
            f"{_text(shape.heads)}"
        )
    if shape.img_size % shape.patch:
        raise UserError(f"the image size {shape.img_size} is no multiple of the patch size {shape.patch}")
    for stage, heads in enumerate(shape.heads):
        if (shape.dim << stage) % heads:
            raise UserError(f"the width {shape.dim << stage} is no multiple of the number of heads {heads}")
    if shape.window:
        _check_windows(shape)


def _check_windows(shape: Architecture) -> None:
    grid = shape.grid
    for stage in range(len(shape.depths)):
        window = min(shape.window, grid)
        if grid % window:
            raise UserError(f"windows of {window} x {window} do not divide the {grid} x {grid} tokens of stage {stage}")
        if stage + 1 < len(shape.depths) and grid % 2:
            raise UserError(f"the {grid} x {grid} tokens of stage {stage} cannot be merged two by two")
        grid //= 2


def _text(numbers: Sequence[int]) -> str:
    return " ".join(map(str, numbers))

"""Shapes of Swins, and the published ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from firmware.errors import UserError
from firmware.families.architecture import Architecture

__all__ = ["SHAPES", "SwinShape"]


@dataclass(frozen=True, kw_only=True)
class SwinShape(Architecture):
    """Shape of a Swin. Its windows are squares of tokens, as large as the grid where that is smaller."""

    window: int  # its side, in tokens

    family: ClassVar[str] = "swin"
    words: ClassVar[Mapping[str, str]] = {
        **{key: word for key, word in Architecture.words.items() if key != "classes"},
        "window": "window", "classes": "classes",
    }  # fmt: skip
    marks: ClassVar[tuple[str, ...]] = (*Architecture.marks, "window")

    def check(self) -> None:
        super().check()
        self.check_stages()
        if self.window < 1:
            raise UserError(f"window must be at least 1, not {self.window}")
        grid = self.grid
        for stage in range(len(self.depths)):
            window = min(self.window, grid)
            if grid % window:
                raise UserError(
                    f"windows of {window} x {window} do not divide the {grid} x {grid} tokens of stage {stage}"
                )
            if stage + 1 < len(self.depths) and grid % 2:
                raise UserError(f"the {grid} x {grid} tokens of stage {stage} cannot be merged two by two")
            grid //= 2


def _shape(name: str, dim: int, depth: int, *, window: int = 7, **others: Any) -> SwinShape:
    heads = tuple(dim // 32 << stage for stage in range(4))
    return SwinShape(name=name, dim=dim, depths=(2, 2, depth, 2), heads=heads, patch=4, window=window, **others)


SHAPES = (
    _shape("swin_tiny_patch4_window7_224", 96, 6),
    _shape("swin_small_patch4_window7_224", 96, 18),
    _shape("swin_base_patch4_window7_224", 128, 18),
    _shape("swin_base_patch4_window12_384", 128, 18, window=12, img_size=384, crop=1.0),
    _shape("swin_large_patch4_window7_224", 192, 18),
    _shape("swin_large_patch4_window12_384", 192, 18, window=12, img_size=384, crop=1.0),
)
"""timm's names."""

"""Known architectures: the published shapes of every family, by timm's names, and changes to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from firmware.errors import UserError
from firmware.families import ARCHITECTURES, Architecture
from firmware.families.architecture import IMAGENET

__all__ = ["ARCHITECTURES", "IMAGENET", "Architecture", "architecture"]


def architecture(
    name: str, *, depth: int | Sequence[int] | None = None, heads: int | Sequence[int] | None = None,
    **changes: int | None,
) -> Architecture:  # fmt: skip
    """The architecture called `name`, or that starts so, with `changes` that are not None.

    Of several that start so, the only one with the smallest images is meant: `swin_base` is that of 224 pixels. `depth`
    and `heads` are one number per stage; a ViT has one. Raises UserError for an unknown name or an impossible shape.
    """
    plain = name.partition(".")[0]  # timm names the training behind a dot
    begun = [shape for key, shape in ARCHITECTURES.items() if key == plain or key.startswith(f"{plain}_")]
    found = [shape for shape in begun if shape.img_size == min(other.img_size for other in begun)]
    if len(found) != 1:
        raise UserError(f"there is no architecture {name}; known: {', '.join(ARCHITECTURES)}")
    given: dict[str, Any] = {key: value for key, value in changes.items() if value is not None}
    for key, stages in (("depths", depth), ("heads", heads)):
        if stages is not None:
            given[key] = (stages,) if isinstance(stages, int) else tuple(stages)
    unknown = given.keys() - {field.name for field in fields(found[0])}
    if unknown:
        raise UserError(f"{found[0].name} has no {min(unknown)} that could be changed")
    shape = replace(found[0], **given)
    shape.check()
    return shape

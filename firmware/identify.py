"""What network a checkpoint is: what its tensors say, what a name says, and whether they agree."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from math import isqrt
from typing import Any

from numpy.typing import NDArray

from firmware.architectures import ARCHITECTURES, Architecture, architecture
from firmware.errors import UserError
from firmware.ivit.convert import depths_of

__all__ = ["describe", "foreign", "identify", "is_official", "twins"]

Array = NDArray[Any]
_HEAD_SIZE = 64  # of every published ViT and DeiT; their tensors do not say it


def is_official(state: Mapping[str, Array]) -> bool:
    """Whether these are tensors of I-ViT's training, which has integers in them, and not of a float network."""
    return any(name.endswith(".weight_integer") for name in state)


def _shape(state: Mapping[str, Array], name: str, rank: int) -> tuple[int, ...]:
    if name not in state:
        raise UserError(f"tensor {name} is missing from the checkpoint")
    shape = state[name].shape
    if len(shape) != rank or 0 in shape:
        raise UserError(f"tensor {name} must have {rank} dimensions, none of them 0, not the shape {list(shape)}")
    return shape


def _examine(state: Mapping[str, Array]) -> Architecture:
    """The architecture that the shapes of `state` spell; 224 pixels for a Swin that does not say."""
    weight = "weight_integer" if is_official(state) else "weight"
    dim, channels, patch, _ = _shape(state, f"patch_embed.proj.{weight}", 4)
    classes = _shape(state, "head.fc.weight" if "head.fc.weight" in state else f"head.{weight}", 2)[0]
    common: dict[str, Any] = {"name": "", "dim": dim, "channels": channels, "patch": patch, "classes": classes}
    depths = depths_of(state)
    if not depths:
        depth = len({match[1] for match in map(re.compile(r"blocks\.(\d+)\.").match, state) if match})
        if not depth:
            raise UserError("the checkpoint has neither blocks.0 nor layers.0: it is no ViT, DeiT or Swin")
        tokens = _shape(state, "pos_embed", 3)[1] - 1
        side = isqrt(tokens)
        if side * side != tokens:
            raise UserError(f"tensor pos_embed must be of a class token and a square of patches, not of {tokens + 1}")
        return Architecture(depths=(depth,), heads=(max(dim // _HEAD_SIZE, 1),), img_size=side * patch, **common)
    tables = [f"layers.{stage}.blocks.0.attn.relative_position_bias_table" for stage in range(len(depths))]
    window = (isqrt(_shape(state, tables[0], 2)[0]) + 1) // 2
    masks = (state[name] for name in state if re.fullmatch(r"layers\.0\.blocks\.\d+\.attn_mask", name))
    mask = next(masks, None)
    size = 224 if mask is None or mask.ndim != 3 else isqrt(len(mask)) * window * patch
    heads = tuple(_shape(state, table, 2)[1] for table in tables)
    return Architecture(depths=depths, heads=heads, window=window, img_size=size, **common)


_FIELDS = {
    "family": "family", "dim": "width", "depths": "depth", "heads": "heads", "patch": "patch size",
    "img_size": "image size", "window": "window", "classes": "classes",
}  # fmt: skip


def _text(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def identify(state: Mapping[str, Array], name: str | None = None, **given: Any) -> Architecture:
    """The architecture of a checkpoint, official or timm's.

    `name` and the sizes that are `given` (img_size, patch, dim, depths, heads, classes; None for unknown) are checked
    against the tensors' shapes, as far as those tell: not a ViT's heads, nor the image size of a Swin without stored
    masks. Untold heads are of 64 channels. Raises UserError naming what was found and what was wanted.
    """
    found = _examine(state)
    sizes = {key: value for key, value in given.items() if value is not None}
    own = {"channels": found.channels, "classes": found.classes}  # of a fine-tuned network: still that architecture
    if name is None:
        alike = [known for known in ARCHITECTURES.values() if _same(known, found)]
        wanted = replace(alike[0] if len(alike) == 1 else found, **{**own, "img_size": found.img_size, **sizes})
        if not wanted.name or wanted.img_size != 224:
            short = wanted.name.partition("_patch")[0] or f"{found.family}_{found.dim}"
            wanted = replace(wanted, name=short)
    else:
        wanted = replace(architecture(name), **{**own, **sizes})
    untold = {"heads"} if found.family == "vit" else set()
    if found.family == "swin" and not any(key.endswith("attn_mask") for key in state):
        untold.add("img_size")
    for key, what in _FIELDS.items():
        has, wants = getattr(found, key), getattr(wanted, key)
        if key not in untold and has != wants:
            raise UserError(
                f"the checkpoint has {what} {_text(has)}, but {name or 'the command line'} wants {_text(wants)}; "
                f"its tensors are those of a {_spelled(found)}"
            )
    if len(wanted.heads) != len(wanted.depths):
        raise UserError(f"heads must be a number per stage, {len(wanted.depths)} in all, not {_text(wanted.heads)}")
    if any(heads < 1 for heads in wanted.heads) or wanted.dim % wanted.heads[0]:
        raise UserError(f"heads must divide the width {wanted.dim}, not be {_text(wanted.heads)}")
    return wanted


def _same(known: Architecture, found: Architecture) -> bool:
    keys = ("family", "dim", "depths", "patch", "window")
    return all(getattr(known, key) == getattr(found, key) for key in keys)


def twins(found: Architecture) -> list[str]:
    """Known architectures with these tensors, if they are several that want other preprocessing."""
    alike = [known for known in ARCHITECTURES.values() if _same(known, found)]
    return [known.name for known in alike] if len({known.statistics for known in alike}) > 1 else []


def describe(shape: Architecture) -> str:
    """Sizes in words."""
    return ", ".join(f"{what} {_text(getattr(shape, key))}" for key, what in _FIELDS.items() if getattr(shape, key))


def _spelled(found: Architecture) -> str:
    alike = [known.name for known in ARCHITECTURES.values() if _same(known, found)]
    return f"{' or '.join(alike) or found.family} ({describe(replace(found, heads=()))})"


_NORM = r"(weight|bias|norm_scaling_factor|bias_integer)"
_LINEAR = r"(weight|bias|fc_scaling_factor|conv_scaling_factor|weight_integer|bias_integer)"
_ATTENTION = (
    rf"(qkv|proj)\.{_LINEAR}|relative_position_(bias_table|index)|"
    r"(qact\d|qact_(attn1|softmax|table)|int_softmax|log_int_softmax|matmul_[12])\.act_scaling_factor"
)
_BLOCK = (
    rf"attn_mask|norm[12]\.{_NORM}|qact[1-4]\.act_scaling_factor|attn\.({_ATTENTION})|mlp\.fc[12]\.{_LINEAR}|"
    r"mlp\.(act|qact1|qact2|qact_gelu)\.act_scaling_factor"
)
_KNOWN = re.compile(
    rf"cls_token|pos_embed|(qact_input|qact_pos|qact[123]|act_out)\.act_scaling_factor|patch_embed\.(proj\.{_LINEAR}|"
    rf"norm\.{_NORM}|(qact|qact_before_norm)\.act_scaling_factor)|norm\.{_NORM}|head\.(fc\.)?{_LINEAR}|"
    rf"(layers\.\d+\.)?blocks\.\d+\.({_BLOCK})|"
    rf"layers\.\d+\.downsample\.(norm\.{_NORM}|reduction\.{_LINEAR}|qact[12]\.act_scaling_factor)"
)


def foreign(state: Mapping[str, Array]) -> list[str]:
    """Tensors that no ViT, DeiT or Swin of ours has: leaving them out would compute another network."""
    return [name for name in state if not _KNOWN.fullmatch(name)]

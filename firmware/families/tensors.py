"""Names and shapes of checkpoints' tensors that several families share: I-ViT's official ones, and timm's."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from numpy.typing import NDArray

from firmware.errors import UserError

__all__ = ["BLOCK", "LINEAR", "NORM", "READERS", "examine_ends", "has_head", "is_official", "shape_of"]

State = Mapping[str, NDArray[Any]]

NORM = r"(weight|bias|norm_scaling_factor|bias_integer)"
LINEAR = r"(weight|bias|fc_scaling_factor|conv_scaling_factor|weight_integer|bias_integer)"
_ATTENTION = (
    rf"(qkv|proj)\.{LINEAR}|relative_position_(bias_table|index)|"
    r"(qact\d|qact_(attn1|softmax|table)|int_softmax|log_int_softmax|matmul_[12])\.act_scaling_factor"
)
BLOCK = (
    rf"attn_mask|norm[12]\.{NORM}|qact[1-4]\.act_scaling_factor|attn\.({_ATTENTION})|mlp\.fc[12]\.{LINEAR}|"
    r"mlp\.(act|qact1|qact2|qact_gelu)\.act_scaling_factor"
)
"""Regular expressions of what follows the name of a norm, of a linear layer and of a block."""

READERS = {"norm1": "attn.qkv", "norm2": "mlp.fc1"}
"""LayerNorms of a block, and the linear that alone reads each through a quantizer."""


def is_official(state: State) -> bool:
    """Whether these are tensors of I-ViT's training, which has integers in them, and not of a float network."""
    return any(name.endswith(".weight_integer") for name in state)


def has_head(names: Collection[str]) -> bool:
    """Whether a network with tensors of these names tells classes; one without a head gives features."""
    return any(name.startswith(("head.", "heads.")) for name in names)


def shape_of(state: State, name: str, rank: int) -> tuple[int, ...]:
    """The shape of a tensor. Raises UserError unless it is there and has `rank` dimensions, none of them 0."""
    if name not in state:
        raise UserError(f"tensor {name} is missing from the checkpoint")
    shape = state[name].shape
    if len(shape) != rank or 0 in shape:
        raise UserError(f"tensor {name} must have {rank} dimensions, none of them 0, not the shape {list(shape)}")
    return shape


def examine_ends(state: State) -> dict[str, Any]:
    """Sizes of an architecture that patch embedding and head spell. Raises UserError for what is missing."""
    weight = "weight_integer" if is_official(state) else "weight"
    dim, channels, patch, _ = shape_of(state, f"patch_embed.proj.{weight}", 4)
    ends = {"name": "", "dim": dim, "channels": channels, "patch": patch}
    if not has_head(state) and not is_official(state):
        return {**ends, "classes": dim, "features": True}
    heads = ("head.fc.weight", "heads.weight")
    classes = shape_of(state, next((name for name in heads if name in state), f"head.{weight}"), 2)[0]
    return {**ends, "classes": classes}

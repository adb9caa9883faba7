"""Hugging Face's names of tensors (ViT, DeiT, DINOv2, Swin in `transformers`) as timm's.

Queries, keys and values, which stand apart there, become one tensor. Tensors of training alone are left out: the mask
token, a decoder's bias, and the pooler, which no classifier of these networks reads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware.errors import UserError

__all__ = ["joined", "timm_names"]

Array = NDArray[Any]

_NETWORK = re.compile(r"^(vit|deit|dinov2|dinov2_with_registers|swin|swinv2)\.")
_MARK = re.compile(r"embeddings\.patch_embeddings\.projection\.weight$")
_LEFT_OUT = re.compile(r"embeddings\.mask_token$|pooler\.")
_RULES = (
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.distillation_token$", "dist_token"),
    (r"^embeddings\.register_tokens$", "reg_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.norm\.", "patch_embed.norm."),
    (r"^encoder\.layer\.", "blocks."),
    (r"^encoder\.layers\.", "layers."),
    (r"\.(layernorm_before|norm1)\.", ".norm1."),
    (r"\.(layernorm_after|norm2)\.", ".norm2."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.attention\.(attention|self)\.(relative_position_\w+)$", r".attn.\2"),
    (r"\.attention\.(attention|self)\.(query|key|value)\.", r".attn.\2."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"(\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
    (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
    (r"^layernorm\.", "norm."),
    (r"^(cls_)?classifier\.", "head."),
    (r"^distillation_classifier\.", "head_dist."),
)
_QUERY = re.compile(r"(.*\.attn)\.query\.(weight|bias)")


def timm_names(state: Mapping[str, Array]) -> dict[str, Array]:
    """`state` under timm's names if its names are Hugging Face's, else as it is.

    Raises UserError where a query has no key or value of its shape.
    """
    if not any(_MARK.search(name) for name in state):
        return dict(state)
    found = {}
    for name, array in state.items():
        name = _NETWORK.sub("", name)
        if _LEFT_OUT.search(name):
            continue
        for pattern, replacement in _RULES:
            name = re.sub(pattern, replacement, name)
        found[name] = array
    return joined(found)


def joined(state: dict[str, Array]) -> dict[str, Array]:
    """`state`, which is changed, with queries, keys and values (`*.attn.query`) as one. Raises UserError."""
    for name in list(state):
        match = _QUERY.fullmatch(name)
        if match is None:
            continue
        attn, kind = match.groups()
        query = state.pop(name)
        others = [state.pop(f"{attn}.{part}.{kind}", None) for part in ("key", "value")]
        for part, other in zip(("key", "value"), others, strict=True):
            if other is None or other.shape != query.shape:
                has = "missing" if other is None else f"of shape {list(other.shape)}"
                raise UserError(f"tensor {attn}.{part}.{kind} must have the shape {list(query.shape)}, but is {has}")
        state[f"{attn}.qkv.{kind}"] = np.concatenate([query, *others])
    return state

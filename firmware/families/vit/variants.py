"""timm's variants of a ViT as the one network that the graph is, exactly: the same function of every image."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware.errors import UserError

__all__ = ["plain"]

Array = NDArray[Any]
f32 = np.float32

_BLOCK = re.compile(r"blocks\.(\d+)\.(.*)")
_SCALES = {"ls1.gamma": "attn.proj", "gamma_1": "attn.proj", "ls2.gamma": "mlp.fc2", "gamma_2": "mlp.fc2"}
"""Gains of residual branches (LayerScale), by timm's names and by DeiT-III's, and the linear each stands behind."""
_LEFT_OUT = frozenset({"mask_token"})  # of training


def plain(weights: Mapping[str, Array]) -> dict[str, Array]:
    """`weights`, by timm's names, without LayerScale, with biases of queries and values joined.

    Raises UserError for blocks that do not have the same tensors, or tensors that do not fit one another.
    """
    found = {name: array for name, array in weights.items() if name not in _LEFT_OUT}
    _check_alike(found)
    for name in list(found):
        match = _BLOCK.fullmatch(name)
        if match is None:
            continue
        at, kind = f"blocks.{match[1]}", match[2]
        if kind in _SCALES:
            _scale(found, name, f"{at}.{_SCALES[kind]}")
        elif kind == "attn.q_bias":
            _join_bias(found, f"{at}.attn")
    _join_heads(found)
    if "register_tokens" in found:
        found["reg_token"] = found.pop("register_tokens")
    for name in [name for name in found if name.endswith((".attn.qkv.weight", ".mlp.fc1.weight"))]:
        # A bias of zeros, where there is none, is what the graph moves a norm's centres into.
        found.setdefault(name.removesuffix("weight") + "bias", np.zeros(found[name].shape[:1], f32))
    return found


def _join_heads(weights: dict[str, Array]) -> None:
    """Heads of the class token and of the distillation token as one, `heads`, that reads both and gives their average.

    Without a second head (Hugging Face's DeiT) the distillation token is a register.
    """
    distilled, head = weights.pop("dist_token", None), weights.get("head.weight")
    dim = weights["cls_token"].shape[-1] if "cls_token" in weights else 0
    if head is not None and head.ndim == 2 and dim and head.shape[1] == 2 * dim:
        raise UserError("a head of class token and mean of the patches together is not supported: head.weight")
    if distilled is not None:
        if "reg_token" in weights or "register_tokens" in weights:
            raise UserError("registers beside a distillation token are not supported: reg_token and dist_token")
        if head is None:
            raise UserError("features of two tokens, of which dist_token is one, are not supported: there is no head")
        weights["reg_token"] = distilled
    second = [name for name in weights if name.startswith("head_dist.")]
    if not second:
        return
    if distilled is None or {*second} != {"head_dist.weight", "head_dist.bias"}:
        raise UserError("tensors head_dist.weight, head_dist.bias and dist_token must all be there, or none")
    for kind in ("weight", "bias"):
        first, last = (weights.pop(f"{name}.{kind}", None) for name in ("head", "head_dist"))
        if first is None or last is None or first.shape != last.shape:
            raise UserError(f"tensors head.{kind} and head_dist.{kind} must both be there, of one shape")
        first, last = np.asarray(first, f32) / 2, np.asarray(last, f32) / 2
        weights[f"heads.{kind}"] = np.concatenate([first, last], 1) if kind == "weight" else first + last


def _check_alike(weights: Mapping[str, Array]) -> None:
    """All blocks have the same tensors: one that lacks a bias is damaged, all that lack it are another variant."""
    blocks: dict[str, set[str]] = {}
    for match in map(_BLOCK.fullmatch, weights):
        if match:
            blocks.setdefault(match[1], set()).add(match[2])
    every = set().union(*blocks.values())
    for number, kinds in blocks.items():
        for kind in sorted(every - kinds):
            raise UserError(
                f"tensor blocks.{number}.{kind} is missing from the checkpoint, though other blocks have it"
            )


def _scale(weights: dict[str, Array], name: str, linear: str) -> None:
    """Multiplies the outputs of `linear` by the gains `name`, which are gone then."""
    gamma = np.asarray(weights.pop(name), f32)
    for kind in ("weight", "bias"):
        key = f"{linear}.{kind}"
        if key not in weights:
            if kind == "bias":
                continue
            raise UserError(f"tensor {key} is missing from the checkpoint")
        value = np.asarray(weights[key], f32)
        if gamma.shape != value.shape[:1]:
            raise UserError(f"tensor {name} must have shape {list(value.shape[:1])}, not {list(gamma.shape)}")
        weights[key] = value * gamma.reshape(-1, *[1] * (value.ndim - 1))


def _join_bias(weights: dict[str, Array], attn: str) -> None:
    """Biases of queries and values alone, as in BEiT: keys have none."""
    query, value = (weights.pop(f"{attn}.{part}_bias", None) for part in "qv")
    if query is None or value is None or query.shape != value.shape or query.ndim != 1:
        raise UserError(f"tensors {attn}.q_bias and {attn}.v_bias must both be there, of one shape")
    if f"{attn}.qkv.bias" in weights:
        raise UserError(f"tensors {attn}.q_bias and {attn}.qkv.bias exclude each other")
    weights.pop(f"{attn}.k_bias", None)  # a buffer of zeros
    weights[f"{attn}.qkv.bias"] = np.concatenate([query, np.zeros_like(query), value])

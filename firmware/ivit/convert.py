"""From a state in the official layout to an integer model, ViT or Swin by what the state holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from firmware.families import Wanted, family_of_tensors
from firmware.graph.assemble import assemble
from firmware.graph.builder import Builder
from hw.spec.model import Model

__all__ = ["model_from_state"]

Array = NDArray[Any]


def model_from_state(
    state: Mapping[str, Array],
    *,
    name: str,
    image: tuple[int, int, int],
    mean: Sequence[float],
    std: Sequence[float],
    patch: int | None = None,
    heads: int | None = None,
    attention_bits: int | None = None,
    labels: Sequence[str] = (),
) -> Model:
    """The integer model of a ViT, DeiT or Swin state in the official I-ViT layout; `image` is (C, H, W).

    Needs `*.weight_integer`, `*.bias_integer`, every scaling factor, the norms' weight and bias, and `cls_token` and
    `pos_embed` (ViT) or the relative position bias tables (Swin); integers may be stored as floats. A ViT state does
    not say how many `heads` there are; everything else follows from shapes, and `patch` is only checked.
    `attention_bits` 8 takes 8-bit probabilities, the paper's deployment and the default for Swin, 16 those of the
    official ViT training, the default for ViT. Raises ModelError, in one sentence, for anything missing or impossible.
    """
    build = Builder(state)
    wanted = Wanted(names=state, image=image, patch=patch, heads=heads, attention_bits=attention_bits)
    logit_scale = family_of_tensors(state).build(build, wanted)
    return assemble(build, logit_scale, name=name, image=image, mean=mean, std=std, labels=labels)

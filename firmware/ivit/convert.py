"""From a state in the official layout to an integer model, ViT or Swin by what the state holds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from firmware.families.swin.graph import swin
from firmware.families.vit.graph import vit
from firmware.graph.builder import Builder
from hw.spec.model import Model, ModelError, validate

__all__ = ["assemble", "depths_of", "model_from_state", "network"]

Array = NDArray[Any]


def depths_of(names: Iterable[str]) -> tuple[int, ...]:
    """Blocks of each stage of a Swin with these tensor names, official or timm's; () if they are no Swin's."""
    found: dict[int, set[int]] = {}
    for name in names:
        match name.split("."):
            case ["layers", stage, "blocks", block, *_] if stage.isdecimal() and block.isdecimal():
                found.setdefault(int(stage), set()).add(int(block))
    if sorted(found) != list(range(len(found))):
        raise ModelError(f"the stages are {sorted(found)}: some layers are missing")
    return tuple(len(found[stage]) for stage in range(len(found)))


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
    logit_scale = network(build, state, image, patch, heads, attention_bits)
    return assemble(build, logit_scale, name=name, image=image, mean=mean, std=std, labels=labels)


def network(
    build: Builder, names: Collection[str], image: tuple[int, int, int], patch: int | None, heads: int | None,
    attention_bits: int | None,
) -> Array:  # fmt: skip
    """Builds the whole graph of the family that the tensors' `names` tell. Returns the scales of the logits."""
    if attention_bits not in {None, 8, 16}:
        raise ModelError(f"attention_bits must be 8 or 16, not {attention_bits}")
    if depths := depths_of(names):
        return swin(build, image, patch, depths, attention_bits or 8)
    depth = len({name.split(".")[1] for name in names if name.startswith("blocks.")})
    if not depth:
        raise ModelError("there is neither blocks.0 nor layers.0: these are no tensors of a ViT or Swin")
    if heads is None:
        raise ModelError("the tensors of a ViT do not say how many heads there are: heads must be given")
    return vit(build, image, patch, heads, depth, attention_bits or 16)


def assemble(
    build: Builder, logit_scale: Array, *, name: str, image: tuple[int, int, int], mean: Sequence[float],
    std: Sequence[float], labels: Sequence[str],
) -> Model:  # fmt: skip
    """The validated model of a finished graph."""
    model = Model(
        name=name,
        image=image,
        classes=len(logit_scale),
        nodes=tuple(build.nodes),
        tensors=build.tensors,
        input_scale=float(build.state.scale("qact_input")),
        mean=tuple(mean),
        std=tuple(std),
        logit_scale=logit_scale,
        labels=tuple(labels),
    )
    validate(model)
    return model

"""ViT and DeiT as a family."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from firmware.errors import UserError
from firmware.families.architecture import HALF, Architecture
from firmware.families.encoder import depth_of, heads_said, one_stage
from firmware.families.family import POOLS, Family, Stage, Wanted
from firmware.families.tensors import BLOCK, LINEAR, NORM, READERS, examine_ends, has_head, is_official, shape_of
from firmware.families.vit.graph import vit
from firmware.families.vit.pattern import recognise
from firmware.families.vit.place import place
from firmware.families.vit.positions import aligned, resampled
from firmware.families.vit.variants import plain
from firmware.families.weights import Weights
from firmware.graph.builder import Builder
from firmware.planner.placed import Job, Placed
from hw.spec.model import Model, ModelError
from hw.spec.operators import ConcatCls

__all__ = ["Vit", "VitShape"]

Array = NDArray[Any]
_HEAD_SIZE = 64  # of every published ViT and DeiT; their tensors do not say it


@dataclass(frozen=True, kw_only=True)
class VitShape(Architecture):
    """Shape of a ViT or DeiT: one stage."""

    family: ClassVar[str] = "vit"

    prefix: int = 1  # tokens before the patches: the class token and registers

    @property
    def tokens(self) -> int:
        """Patches and those before them."""
        _, height, width = self.image
        return (height // self.patch) * (width // self.patch) + self.prefix

    def check(self) -> None:
        super().check()
        self.check_stages(1)


def _shape(name: str, dim: int, depth: int, **others: Any) -> VitShape:
    return VitShape(name=name, dim=dim, depths=(depth,), heads=(dim // _HEAD_SIZE,), **others)


def _patch(weights: Mapping[str, Array]) -> int | None:
    weight = weights.get("patch_embed.proj.weight")
    return None if weight is None or weight.ndim != 4 else weight.shape[2]


class Vit(Family):
    """A class token, one position embedding, and blocks of one size that attend to every token."""

    name = "vit"
    titles = ("ViT", "DeiT")
    architectures = (
        _shape("deit_tiny_patch16_224", 192, 12),
        _shape("deit_small_patch16_224", 384, 12),
        _shape("deit_base_patch16_224", 768, 12),
        _shape("vit_base_patch16_224", 768, 12, statistics=HALF),
        _shape("vit_large_patch16_224", 1024, 24, statistics=HALF),
        *(
            _shape(f"dinov2_vit{size}14_224", dim, depth, patch=14, classes=dim, features=True, crop=0.875)
            for size, dim, depth in (("s", 384, 12), ("b", 768, 12), ("l", 1024, 24))
        ),
    )
    tensor = re.compile(
        r"cls_token|pos_embed|(qact_input|qact_pos|qact[123]|act_out)\.act_scaling_factor|"
        rf"patch_embed\.(proj\.{LINEAR}|qact\.act_scaling_factor)|norm\.{NORM}|fc_norm\.(weight|bias)|"
        rf"heads?\.{LINEAR}|blocks\.\d+\.({BLOCK})"
    )
    constants = ("cls_token", "pos_embed")
    epsilon = 1e-6

    def has_graph(self, model: Model) -> bool:
        return any(node.op == ConcatCls.name for node in model.nodes)

    def place(self, job: Job) -> Placed:
        return place(job)

    def stages(self, model: Model) -> Sequence[Stage]:
        return one_stage(model, recognise)

    def has_tensors(self, names: Collection[str]) -> bool:
        return depth_of(names) > 0

    def examine(self, state: Mapping[str, Array], size: tuple[int, int] | None = None) -> VitShape:
        ends = examine_ends(state)
        prefix = shape_of(state, "cls_token", 3)[1] if "cls_token" in state else 1
        tokens = shape_of(state, "pos_embed", 3)[1] - prefix
        side = isqrt(max(tokens, 0))
        patch = ends["patch"]
        pixels: tuple[int, int] = (side * patch, side * patch)
        if size and (not is_official(state) or size[0] * size[1] == tokens * patch**2):
            pixels = size
        elif side * side != tokens or not tokens:
            before = "a class token" if prefix == 1 else f"{prefix} tokens"
            raise UserError(
                f"tensor pos_embed must be of {before} and a square of patches, not of {tokens + prefix}; of a "
                "rectangle, --img-size HEIGHT WIDTH says which"
            )
        ends |= {"prefix": prefix, "img_size": pixels[0], "img_width": None if len({*pixels}) == 1 else pixels[1]}
        heads = max(ends["dim"] // _HEAD_SIZE, 1)
        shape = VitShape(depths=(depth_of(state),), heads=(heads,), **ends)
        if size:
            shape.check()
        return shape

    def untold(self, state: Mapping[str, Array]) -> Collection[str]:
        del state
        return ("heads",)

    def remarks(self, state: Mapping[str, Array], shape: Architecture, told: Collection[str] = ()) -> Sequence[str]:
        taken = "the mean of the patches" if "avg" in told else "the class token"
        if "heads.weight" in state:
            taken = "the class token and the distillation token, by two heads whose logits are averaged"
        if "fc_norm.weight" in state:
            pooled = f"the {'feature is' if shape.features else 'head reads'} the last norm of the mean of the patches"
        else:
            pooled = f"the feature is {taken} behind the last norm" if shape.features else f"the head reads {taken}"
        said = [
            heads_said(shape, told),
            pooled
            if {*POOLS} & {*told} or "heads.weight" in state
            else f"assumed: {pooled} (of the mean, --pool avg says so)",
            "assumed: exact GELU",
        ]
        tokens = shape_of(state, "pos_embed", 3)[1]
        if tokens != shape.tokens:
            grid = " x ".join(str(size // shape.patch) for size in shape.image[1:])
            said.append(
                f"position embeddings of {tokens} tokens interpolated for {grid} patches, bicubic, as timm does"
            )
        return said

    def official_names(self, weights: Mapping[str, Array]) -> dict[str, Array]:
        return aligned(plain(weights))

    def fitted(self, weights: Mapping[str, Array], image: tuple[int, int, int]) -> dict[str, Array]:
        found, patch = dict(weights), _patch(weights)
        cls, positions = found.get("cls_token"), found.get("pos_embed")
        if patch and cls is not None and positions is not None and cls.ndim == positions.ndim == 3:
            found["pos_embed"] = resampled(positions, cls.shape[1], (image[1] // patch, image[2] // patch))
        return found

    def build(self, build: Builder, wanted: Wanted) -> Array:
        if wanted.heads is None:
            raise ModelError("the tensors of a ViT do not say how many heads there are: heads must be given")
        depth, bits = depth_of(wanted.names), wanted.attention_bits or 16
        behind = any(name.startswith("fc_norm.") for name in wanted.names)
        if behind and (wanted.pool != "avg" or "norm.weight" in wanted.names):
            raise ModelError(
                "a norm behind the pooling (fc_norm) must be that of a mean (--pool avg), and the only one"
            )
        return vit(
            build, wanted.image, wanted.patch, wanted.heads, depth, bits, features=not has_head(wanted.names),
            distilled="heads.weight" in wanted.names,
            average=wanted.pool == "avg", norm_of_mean=behind,
        )  # fmt: skip

    def reader(self, norm: str) -> str | None:
        at, _, last = norm.rpartition(".")
        return "head" if norm in {"norm", "fc_norm"} else f"{at}.{READERS[last]}" if last in READERS else None

    def constant(self, name: str, weights: Mapping[str, Array], value: Array) -> Array:
        del name  # the position embedding is the only one
        return np.asarray(weights["pos_embed"]).reshape(1, *value.shape)

    def random_weights(self, shape: Architecture, make: Weights) -> None:
        dim = shape.dim
        make.patch_embed(dim, shape.patch, 0.3)
        make.tensors["cls_token"] = make.normal((1, 1, dim), 0.4)
        make.tensors["pos_embed"] = make.normal((1, shape.tokens, dim), 0.3)
        for index in range(shape.depths[0]):
            make.block(f"blocks.{index}", dim, 0.15)
        power = make.norm("norm", dim)
        if not shape.features:
            make.linear("head", shape.classes, (dim,), power, 1.0)

"""Swin as a family."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware.errors import UserError
from firmware.families.architecture import Architecture
from firmware.families.family import Family, Stage, Wanted
from firmware.families.swin.graph import swin
from firmware.families.swin.names import depths_of, official_names
from firmware.families.swin.pattern import recognise
from firmware.families.swin.place import place
from firmware.families.swin.relative import gathered
from firmware.families.swin.shape import SHAPES, SwinShape
from firmware.families.tensors import BLOCK, LINEAR, NORM, READERS, examine_ends, shape_of
from firmware.families.weights import Weights
from firmware.graph.builder import Builder
from firmware.planner.placed import Job, Placed
from firmware.planner.program import CompileError
from hw.spec.model import Model, ModelError
from hw.spec.operators import WindowPartition

__all__ = ["Swin"]

Array = NDArray[Any]
_TABLE = "attn.relative_position_bias_table"
_READERS = {**READERS, "downsample.norm": "downsample.reduction"}


class Swin(Family):
    """Stages of ever fewer and wider tokens, whose blocks attend within windows, every other time shifted ones."""

    name = "swin"
    titles = ("Swin",)
    architectures = SHAPES
    tensor = re.compile(
        r"(qact_input|qact[123]|act_out)\.act_scaling_factor|"
        rf"patch_embed\.(proj\.{LINEAR}|norm\.{NORM}|(qact|qact_before_norm)\.act_scaling_factor)|norm\.{NORM}|"
        rf"head\.(fc\.)?{LINEAR}|layers\.\d+\.blocks\.\d+\.({BLOCK})|"
        rf"layers\.\d+\.downsample\.(norm\.{NORM}|reduction\.{LINEAR}|qact[12]\.act_scaling_factor)"
    )
    constants = ("relative_position_bias_table",)
    epsilon = 1e-5

    def has_graph(self, model: Model) -> bool:
        return any(node.op == WindowPartition.name for node in model.nodes)

    def place(self, job: Job) -> Placed:
        return place(job)

    def stages(self, model: Model) -> Sequence[Stage]:
        try:
            roles = recognise(model)
        except CompileError:
            return ()
        return [
            Stage(
                blocks=len(stage.blocks), tokens=stage.tokens, width=stage.dim, heads=stage.heads,
                hidden=stage.hidden, window=stage.blocks[0].side,
                shifted=sum(block.shift > 0 for block in stage.blocks),
                macs=sum(model.layer_macs[node.name] for block in stage.blocks for node in block.nodes()),
            )
            for stage in roles.stages
        ]  # fmt: skip

    def has_tensors(self, names: Collection[str]) -> bool:
        return any(re.match(r"layers\.\d+\.blocks\.\d+\.", name) for name in names)

    def examine(self, state: Mapping[str, Array], size: tuple[int, int] | None = None) -> SwinShape:
        """224 pixels for a network without stored masks that is none of the published ones."""
        if size and size[0] != size[1]:
            raise UserError(f"a Swin takes square images, not of {size[0]} x {size[1]}")
        ends, depths = examine_ends(state), depths_of(state)
        tables = [shape_of(state, f"layers.{stage}.blocks.0.{_TABLE}", 2) for stage in range(len(depths))]
        window = (isqrt(tables[0][0]) + 1) // 2
        found = SwinShape(depths=depths, heads=tuple(heads for _, heads in tables), window=window, **ends)
        masks = (state[name] for name in state if re.fullmatch(r"layers\.0\.blocks\.\d+\.attn_mask", name))
        mask = next(masks, None)
        if mask is not None and mask.ndim == 3:
            pixels = isqrt(len(mask)) * window * found.patch
        else:
            pixels = next((shape.img_size for shape in SHAPES if shape.alike(found)), found.img_size)
        return SwinShape(**{**vars(found), "img_size": pixels})

    def untold(self, state: Mapping[str, Array]) -> Collection[str]:
        return () if any(name.endswith("attn_mask") for name in state) else ("img_size",)

    def official_names(self, weights: Mapping[str, Array]) -> dict[str, Array]:
        return official_names(weights)

    def build(self, build: Builder, wanted: Wanted) -> Array:
        if wanted.pool == "token":
            raise ModelError("a Swin has no class token: its head reads the mean")
        bits = wanted.attention_bits or 8  # heads: the bias tables say
        return swin(build, wanted.image, wanted.patch, depths_of(wanted.names), bits)

    def reader(self, norm: str) -> str | None:
        if norm == "norm":
            return "head"
        ends = (end for end in _READERS if norm.endswith(f".{end}"))
        return next((norm.removesuffix(end) + _READERS[end] for end in ends), None)

    def constant(self, name: str, weights: Mapping[str, Array], value: Array) -> Array:
        if name.endswith("qact_table"):
            table = np.asarray(weights[name.replace("qact_table", "relative_position_bias_table")])
            return gathered(table, isqrt(value.shape[-1]))[None]
        return value[None]  # a mask of zeros and ones

    def random_weights(self, shape: Architecture, make: Weights) -> None:
        assert isinstance(shape, SwinShape)
        dim = shape.dim
        make.patch_embed(dim, shape.patch, 1.0)
        make.norm("patch_embed.norm", dim)
        for stage, (depth, heads) in enumerate(zip(shape.depths, shape.heads, strict=True)):
            at, side = f"layers.{stage}", min(shape.window, shape.grid >> stage)
            if stage:
                power = make.norm(f"{at}.downsample.norm", 4 * dim)
                make.linear(f"{at}.downsample.reduction", 2 * dim, (4 * dim,), power, 0.8, bias=False)
                dim *= 2
            for index in range(depth):
                make.block(f"{at}.blocks.{index}", dim, 0.2)
                table = make.normal(((2 * side - 1) ** 2, heads), 0.8)
                make.tensors[f"{at}.blocks.{index}.{_TABLE}"] = table
        power = make.norm("norm", dim)
        # Random weights make the rows of a grid alike, and their mean as large as each.
        make.linear("head.fc", shape.classes, (dim,), power, 1.0)

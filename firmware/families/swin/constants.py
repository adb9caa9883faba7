"""Which constants a Swin has in the MODEL region, in which order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from firmware.families.swin.pattern import Block, Stage, SwinTransformer
from firmware.families.swin.pooling import pooling_constants
from firmware.families.swin.windows import Rectangle, rectangles
from firmware.planner.image import ModelImage
from hw.spec.config import Config
from hw.spec.memory import align
from hw.spec.model import Model

__all__ = ["bias_name", "constants"]


def bias_name(block: Block, rectangle: Rectangle, head: int) -> str:
    """The blob of a rectangle's relative position bias: rows of whole words."""
    return f"{block.bias.name} {rectangle.shape} {head}"


def constants(model: Model, roles: SwinTransformer, config: Config) -> ModelImage:
    """Everything that the device reads of `model`."""
    image = ModelImage(model, config)
    image.linear(roles.embed, roles.embed_quant)
    image.norm(roles.embed_norm, roles.embed_norm_quant)
    for stage in roles.stages:
        for block in stage.blocks:
            image.norm(block.norm1, block.norm1_quant)
            image.qkv(block.qkv, block.qkv_quant)
            _bias(model, stage, block, image, config)
            image.linear(block.proj, block.proj_quant)
            image.norm(block.norm2, block.norm2_quant)
            image.linear(block.fc1, block.fc1_quant)
            block.act.constants(image)
            image.linear(block.fc2, block.fc2_quant)
        if stage.merge:
            image.norm(stage.merge.norm, stage.merge.norm_quant)
            image.linear(stage.merge.reduction, stage.merge.reduction_quant)
    image.norm(roles.norm, roles.norm_quant)
    pooling_constants(image, roles.stages[-1].tokens, config)
    image.linear(roles.head, None)
    return image


def _bias(model: Model, stage: Stage, block: Block, image: ModelImage, config: Config) -> None:
    value = np.asarray(model.tensor(block.bias, "value"))
    shapes = {r.shape: r for r in rectangles(stage.height, stage.width, block.side, block.shift)}
    for rectangle in shapes.values():
        places = rectangle.places(block.side)
        rows: NDArray[np.int8] = np.zeros((len(places), align(len(places), config.word_bytes)), np.int8)
        for head in range(stage.heads):
            rows[:, : len(places)] = value[head][np.ix_(places, places)]
            image.add(bias_name(block, rectangle, head), rows.reshape(-1).view(np.uint8))

"""Which constants a BERT has in the MODEL region, in which order: the same for texts of every length."""

from __future__ import annotations

from firmware.families.bert.pattern import Encoder
from firmware.families.bert.pooling import pooling_constants
from firmware.planner.image import ModelImage
from hw.spec.config import Config
from hw.spec.model import Model

__all__ = ["constants"]


def constants(model: Model, roles: Encoder, config: Config) -> ModelImage:
    """Everything that the device reads of `model`."""
    image = ModelImage(model, config)
    for block in roles.blocks:
        image.norm(block.norm1, block.norm1_quant)
        image.norm(block.stream1, block.stream1_quant)
        image.qkv(block.qkv, block.qkv_quant)
        image.linear(block.proj, block.proj_quant)
        image.norm(block.norm2, block.norm2_quant)
        image.norm(block.stream2, block.stream2_quant)
        image.linear(block.fc1, block.fc1_quant)
        block.act.constants(image)
        image.linear(block.fc2, block.fc2_quant)
    image.norm(roles.norm, roles.norm_quant)
    pooling_constants(image, len(model.tensor(roles.embedded, "position")), config)
    return image

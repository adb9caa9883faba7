"""Which constants a ViT has in the MODEL region, in which order."""

from __future__ import annotations

import numpy as np

from firmware.families.vit.pattern import VisionTransformer
from firmware.planner.image import ModelImage
from firmware.planner.summing import summing_constants
from firmware.planner.wide_summing import wide_summing_constants
from hw.spec import arith
from hw.spec.config import Config
from hw.spec.model import Model

__all__ = ["constants"]


def constants(model: Model, roles: VisionTransformer, config: Config) -> ModelImage:
    """Everything that the device reads of `model`."""
    image = ModelImage(model, config)
    image.linear(roles.embed, roles.embed_quant)
    _position(model, roles, image)
    for block in roles.blocks:
        image.norm(block.norm1, block.norm1_quant)
        image.qkv(block.qkv, block.qkv_quant)
        image.linear(block.proj, block.proj_quant)
        image.norm(block.norm2, block.norm2_quant)
        image.linear(block.fc1, block.fc1_quant)
        block.act.constants(image)
        image.linear(block.fc2, block.fc2_quant)
    image.norm(roles.norm, roles.norm_quant)
    if roles.pool:
        sums = wide_summing_constants if roles.norm_of_mean else summing_constants
        sums(image, roles.tokens, config, roles.pool.attributes["first"])
    image.linear(roles.head, None)
    return image


def _position(model: Model, roles: VisionTransformer, image: ModelImage) -> None:
    """Position embedding rows; the first hold the finished tokens before the patches, which no image changes."""
    value = np.asarray(model.tensor(roles.position, "value"), np.int64).reshape(roles.tokens, roles.dim)
    cls = np.asarray(model.tensor(roles.cls, "cls"), np.int64)
    factors = [
        np.asarray(model.tensor(roles.add, name), np.int64)
        for name in ("mult", "shift", "mult_identity", "shift_identity")
    ]
    rows = value.copy()
    rows[: roles.prefix] = arith.requantize(
        cls,
        factors[0],
        factors[1],
        16,
        identity=value[: roles.prefix],
        mult_identity=factors[2],
        shift_identity=factors[3],
    )
    image.add(roles.position.name, rows.astype("<i2").reshape(-1).view(np.uint8))

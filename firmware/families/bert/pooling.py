"""Sums of int16 tokens for texts of every length, of constants that are the same for all of them."""

from __future__ import annotations

import numpy as np

from firmware.planner.image import ModelImage
from firmware.planner.limits import check_summed
from firmware.planner.scheduler import Stream
from firmware.planner.wide_summing import swapping_constants
from hw.spec.config import Config
from hw.spec.isa import Region
from hw.spec.memory import align, pack_stream

__all__ = ["ones", "pooling_constants"]


def _name(rest: int) -> str:
    return f"summing up, {rest} tokens in the last word"


def pooling_constants(image: ModelImage, longest: int, config: Config) -> None:
    """Columns of ones whose last word has 1, 2, ... tokens. Raises CompileError for more than a MATMUL can reduce."""
    check_summed(longest, config)
    swapping_constants(image, config)
    before = align(longest, config.rows) - config.rows
    for rest in range(1, config.rows + 1):
        image.add(_name(rest), pack_stream(np.ones((1, before + rest), np.int8), config))


def ones(image: ModelImage, tokens: int, config: Config) -> Stream:
    """The end of one of them, which sums up so many tokens."""
    passes = align(tokens, config.rows) // config.rows
    blob = image.blobs[_name(tokens - (passes - 1) * config.rows)]
    words = passes * config.cols
    return Stream(Region.MODEL, blob.offset + blob.words - words, words)

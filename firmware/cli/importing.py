"""import-ivit: a checkpoint of the official training becomes an integer model file."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

from firmware.architectures import IMAGENET
from firmware.cli.checkpoints import (
    add_common,
    crop_of,
    identified,
    load_tensors,
    per_channel,
    read_labels,
    save,
)
from firmware.errors import UserError
from firmware.files import Outputs
from firmware.identify import describe, is_official
from firmware.ivit import model_from_state

__all__ = ["import_command", "register"]

_OFFICIAL_CROP = 0.875  # of I-ViT's validation


def register(commands: Any) -> None:
    """Adds the command's grammar to argparse's sub-parsers."""
    imported = commands.add_parser("import-ivit", help="checkpoint of the official I-ViT training -> integer model")
    imported.set_defaults(function=import_command)
    imported.add_argument("checkpoint", help=".pth.tar as quant_train.py saves it, or safetensors")
    add_common(imported)


def import_command(arguments: argparse.Namespace) -> int:
    """Checkpoint of the official I-ViT training -> integer model file, its integers unchanged."""
    Outputs(arguments.output)
    state = load_tensors(arguments)
    if not is_official(state):
        raise UserError(f"{arguments.checkpoint} holds no integer weights: it is a float checkpoint, use quantize")
    shape = identified(arguments, state)
    mean, std = IMAGENET  # the official training's for every architecture
    model = model_from_state(
        state,
        name=arguments.name or shape.name,
        image=shape.image,
        patch=shape.patch,
        heads=shape.heads[0] if shape.heads else None,
        mean=per_channel(arguments, "mean", mean, shape.channels),
        std=per_channel(arguments, "std", std, shape.channels),
        attention_bits=arguments.attention_bits,
        labels=read_labels(arguments.labels, shape.classes),
    )
    print(f"{shape.name}: {describe(shape)}")
    save(replace(model, crop=crop_of(arguments, shape, _OFFICIAL_CROP)), arguments.output)
    return 0

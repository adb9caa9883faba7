"""quantize, make-model and inspect: where integer models come from, and what is in them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from safetensors import SafetensorError
from safetensors.numpy import load_file

from firmware.architectures import ARCHITECTURES, Architecture, describe, foreign, identify, is_official
from firmware.checkpoint import load_checkpoint
from firmware.dataset import open_dataset
from firmware.errors import UserError
from firmware.ivit import model_from_state
from firmware.make_model import ARCHITECTURES as MADE
from firmware.make_model import architecture, images, make_model
from firmware.model_file import load_model, save_model
from firmware.preprocess import normalise
from firmware.quantize import RANGES, quantize
from hw.spec.model import Model

__all__ = ["import_command", "inspect_command", "make_model_command", "quantize_command", "register"]

_OFFICIAL_CROP = 0.875  # of I-ViT's validation, which resizes nothing of up to 32 pixels


def register(commands: Any) -> None:
    """Adds the commands' grammars to argparse's sub-parsers."""
    quantize = commands.add_parser("quantize", help="float ViT checkpoint (timm names, safetensors) -> integer model")
    quantize.set_defaults(function=quantize_command)
    quantize.add_argument("checkpoint")
    quantize.add_argument("--images", required=True, help="calibration images: .npy, uint8 [n, C, H, W]")
    quantize.add_argument("--count", type=int, help="use only the first COUNT images")
    quantize.add_argument("--patch", type=int, required=True, help="patch size, pixels")
    quantize.add_argument("--heads", type=int, required=True)
    quantize.add_argument("--mean", type=float, nargs="+", default=[0.485, 0.456, 0.406], help="of pixel/255")
    quantize.add_argument("--std", type=float, nargs="+", default=[0.229, 0.224, 0.225], help="of pixel/255")
    quantize.add_argument("--attention-bits", type=int, choices=(8, 16), default=16)
    quantize.add_argument("--ranges", choices=tuple(RANGES), default="ema", help="activation ranges")
    quantize.add_argument("--name", help="name stored in the model; default: the output's")
    quantize.add_argument("-o", "--output", required=True)

    _register_import(commands)

    made = commands.add_parser("make-model", help="an architecture with seeded random weights -> integer model")
    made.set_defaults(function=make_model_command)
    made.add_argument("architecture", help=f"a timm name: {', '.join(MADE)}")
    made.add_argument("--seed", type=int, default=0)
    for name in ("img-size", "patch", "dim", "depth", "heads", "classes"):
        made.add_argument(f"--{name}", type=int, help="instead of the architecture's")
    made.add_argument("--attention-bits", type=int, choices=(8, 16), default=16)
    made.add_argument("--calibration", type=int, default=2, metavar="COUNT", help="random calibration images")
    made.add_argument("--images", metavar="FILE", help="also write the calibration images, .npy")
    made.add_argument("--name", help="name stored in the model; default: the architecture's")
    made.add_argument("-o", "--output", required=True)

    inspect = commands.add_parser("inspect", help="print what is in a model file")
    inspect.set_defaults(function=inspect_command)
    inspect.add_argument("model")


def _register_import(commands: Any) -> None:
    imported = commands.add_parser("import-ivit", help="checkpoint of the official I-ViT training -> integer model")
    imported.set_defaults(function=import_command)
    imported.add_argument("checkpoint", help=".pth.tar as quant_train.py saves it, or safetensors")
    _add_architecture(imported)
    imported.add_argument("--mean", type=float, nargs="+", default=[0.485, 0.456, 0.406], help="of pixel/255")
    imported.add_argument("--std", type=float, nargs="+", default=[0.229, 0.224, 0.225], help="of pixel/255")
    imported.add_argument("--crop", type=float, help="share of the shorter side shown; default 0.875")
    imported.add_argument("--attention-bits", type=int, choices=(8, 16), help="default: 16, of a Swin 8, as official")
    _add_output(imported)


def _add_architecture(command: argparse.ArgumentParser) -> None:
    command.add_argument("--arch", metavar="NAME", help=f"checked if given: {', '.join(ARCHITECTURES)}")
    for name in ("img-size", "patch", "dim", "classes"):
        command.add_argument(f"--{name}", type=int, help="checked if given")
    command.add_argument("--depth", type=int, nargs="+", help="blocks, of a Swin one number per stage; checked")
    command.add_argument("--heads", type=int, nargs="+", help="of a ViT, whose tensors do not tell; default: dim / 64")


def _add_output(command: argparse.ArgumentParser) -> None:
    command.add_argument("--labels", metavar="FILE", help="names of the classes, a line each")
    command.add_argument("--name", help="name stored in the model; default: the architecture's")
    command.add_argument("-o", "--output", required=True)


def _identify(arguments: argparse.Namespace, state: Mapping[str, NDArray[Any]]) -> Architecture:
    """The checkpoint's architecture, after what the command line says. Raises UserError."""
    unknown = foreign(state)
    if unknown:
        raise UserError(
            f"{arguments.checkpoint} must be a ViT, DeiT or Swin, whose tensors are known, but {unknown[0]} "
            f"is none of them ({len(unknown)} such tensors)"
        )
    return identify(
        state, arguments.arch, img_size=arguments.img_size, patch=arguments.patch, dim=arguments.dim,
        depths=arguments.depth and tuple(arguments.depth), heads=arguments.heads and tuple(arguments.heads),
        classes=arguments.classes,
    )  # fmt: skip


def _read_labels(path: str | None) -> tuple[str, ...]:
    if path is None:
        return ()
    try:
        return tuple(line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip())
    except UnicodeDecodeError as error:
        raise UserError(f"{path} must be a text file, a class name a line: {error}") from None


def import_command(arguments: argparse.Namespace) -> int:
    """Checkpoint of the official I-ViT training -> integer model file, its integers unchanged."""
    state = load_checkpoint(arguments.checkpoint)
    if not is_official(state):
        raise UserError(f"{arguments.checkpoint} holds no integer weights: it is a float checkpoint, use quantize")
    shape = _identify(arguments, state)
    model = model_from_state(
        state,
        name=arguments.name or shape.name,
        image=shape.image,
        patch=shape.patch,
        heads=shape.heads[0],
        mean=_per_channel(arguments.mean, shape.channels, "mean"),
        std=_per_channel(arguments.std, shape.channels, "std"),
        attention_bits=arguments.attention_bits,
        labels=_read_labels(arguments.labels),
    )
    crop = arguments.crop or (_OFFICIAL_CROP if shape.img_size > 32 else 1.0)
    print(f"{shape.name}: {describe(shape)}")
    return _save(replace(model, crop=crop), arguments.output)


def quantize_command(arguments: argparse.Namespace) -> int:
    """Float checkpoint + calibration images -> integer model file."""
    try:
        weights = load_file(arguments.checkpoint)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{arguments.checkpoint} is not a safetensors checkpoint: {error}") from None
    images = open_dataset(arguments.images, limit=arguments.count).images
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        raise UserError(f"calibration images {arguments.images} must be uint8 pixels in a .npy file")
    channels = images.shape[1]
    mean, std = (_per_channel(getattr(arguments, name), channels, name) for name in ("mean", "std"))
    model = quantize(
        weights,
        normalise(images, mean, std),
        name=arguments.name or Path(arguments.output).stem,
        patch=arguments.patch,
        heads=arguments.heads,
        mean=mean,
        std=std,
        attention_bits=arguments.attention_bits,
        ranges=arguments.ranges,
    )
    return _save(model, arguments.output)


def _save(model: Model, path: str) -> int:
    save_model(model, path)
    size = Path(path).stat().st_size
    print(f"wrote {path}: {len(model.nodes)} operators, {model.macs:,} MACs per image, {size:,} bytes")
    return 0


def make_model_command(arguments: argparse.Namespace) -> int:
    """A known architecture with seeded random weights -> integer model file."""
    changes = {key: getattr(arguments, key) for key in ("img_size", "patch", "dim", "depth", "heads", "classes")}
    shape = architecture(arguments.architecture, **changes)
    if not 1 <= arguments.calibration <= 256 or arguments.seed < 0:
        raise UserError("--calibration must be from 1 to 256 and --seed at least 0")
    model = make_model(
        shape, seed=arguments.seed, attention_bits=arguments.attention_bits, calibration=arguments.calibration,
        name=arguments.name,
    )  # fmt: skip
    if arguments.images:
        np.save(arguments.images, images(shape, arguments.calibration, arguments.seed))
    return _save(model, arguments.output)


def _per_channel(values: list[float], channels: int, name: str) -> list[float]:
    if len(values) not in {1, channels}:
        raise UserError(f"--{name} wants 1 or {channels} numbers, not {len(values)}")
    return values * channels if len(values) == 1 else values


def inspect_command(arguments: argparse.Namespace) -> int:
    """Prints what is in a model file."""
    model = load_model(arguments.model)
    console = Console()
    table = Table(title=f"{model.name}: image {list(model.image)}, patch {model.patch}")
    for heading in ("node", "operator", "inputs", "attributes", "tensors"):
        table.add_column(heading)
    for node in model.nodes:
        tensors = [
            f"{key.rpartition('.')[2]} {array.dtype}{list(array.shape)}"
            for key, array in model.tensors.items()
            if key.rpartition(".")[0] == node.name
        ]
        attributes = " ".join(f"{key}={value}" for key, value in node.attributes.items())
        table.add_row(node.name, node.op, " ".join(node.inputs), attributes, " ".join(tensors))
    console.print(table)
    parameters = sum(array.size for array in model.tensors.values())
    console.print(f"{model.classes} classes, {parameters:,} constants, {model.macs:,} MACs per image")
    return 0

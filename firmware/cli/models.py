"""quantize, make-model and inspect: where integer models come from, and what is in them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from safetensors import SafetensorError
from safetensors.numpy import load_file

from firmware.dataset import open_dataset
from firmware.errors import UserError
from firmware.make_model import ARCHITECTURES, architecture, images, make_model
from firmware.model_file import load_model, save_model
from firmware.preprocess import normalise
from firmware.quantize import RANGES, quantize
from hw.spec.model import Model

__all__ = ["inspect_command", "make_model_command", "quantize_command", "register"]


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

    made = commands.add_parser("make-model", help="an architecture with seeded random weights -> integer model")
    made.set_defaults(function=make_model_command)
    made.add_argument("architecture", help=f"a timm name: {', '.join(ARCHITECTURES)}")
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

"""What import-ivit and quantize share: checkpoints, what the command line says of them, and the model file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from firmware.architectures import ARCHITECTURES, Architecture
from firmware.checkpoint import load_checkpoint
from firmware.errors import UserError
from firmware.identify import foreign, identify, special
from firmware.model_file import save_model
from hw.spec.model import Model

__all__ = ["add_common", "crop_of", "identified", "load_tensors", "per_channel", "read_labels", "save"]

_SMALL = 32  # pixels; I-ViT's validation does not resize images that are not larger


def add_common(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--arch", metavar="NAME",
        help="what the network is, where tensors do not tell networks apart; another one is refused: "
        f"{', '.join(ARCHITECTURES)}",
    )  # fmt: skip
    for name, what in (("patch", "side of a patch in pixels"), ("dim", "channels of a token"), ("classes", "classes")):
        command.add_argument(f"--{name}", type=int, help=f"{what}, which tensors tell; another number is refused")
    command.add_argument(
        "--img-size", type=int, nargs="+", metavar="PIXELS",
        help="side of the images, or height and width; a float ViT's position embeddings are fitted to another size",
    )  # fmt: skip
    command.add_argument(
        "--depth", type=int, nargs="+",
        help="blocks, of a Swin a number for each stage, which tensors tell; others are refused",
    )  # fmt: skip
    command.add_argument(
        "--heads", type=int, nargs="+",
        help="attention heads; a ViT's checkpoint does not store them (default: dim / 64), a Swin's are checked",
    )  # fmt: skip
    command.add_argument(
        "--attention-bits",
        type=int,
        choices=(8, 16),
        help="bits of the attention probabilities (default: 16, of a Swin 8, as I-ViT)",
    )
    command.add_argument(
        "--mean",
        type=float,
        nargs="+",
        help="mean of pixel/255 that images were normalised with (default: the architecture's)",
    )
    command.add_argument(
        "--std", type=float, nargs="+", help="deviation of pixel/255, likewise (default: the architecture's)"
    )
    command.add_argument("--crop", type=float, help="share of a resized photograph's shorter side that is shown")
    command.add_argument("--labels", metavar="FILE", help="text file of the names of the classes, a line each")
    command.add_argument("--name", help="name stored in the model (default: the architecture's, or the file's)")
    command.add_argument("-o", "--output", required=True, metavar="FILE", help="the integer model file to write")


def identified(arguments: argparse.Namespace, state: Mapping[str, NDArray[Any]]) -> Architecture:
    """The checkpoint's architecture, after what the command line says. Raises UserError."""
    unsupported = special(state)
    if unsupported:
        raise UserError(f"{arguments.checkpoint} has {unsupported}, which is not supported")
    unknown = foreign(state)
    if unknown:
        raise UserError(
            f"{arguments.checkpoint} must be a ViT, DeiT or Swin, whose tensors are known, but {unknown[0]} "
            f"is none of them ({len(unknown)} such tensors)"
        )
    height, width = _size(arguments.img_size)
    return identify(
        state, arguments.arch, img_size=height, img_width=width, patch=arguments.patch,
        dim=arguments.dim,
        depths=arguments.depth and tuple(arguments.depth), heads=arguments.heads and tuple(arguments.heads),
        classes=arguments.classes,
    )  # fmt: skip


def _size(pixels: Sequence[int] | None) -> tuple[int | None, int | None]:
    """``--img-size``: height, and width where it is another."""
    if pixels is None:
        return None, None
    if len(pixels) > 2 or min(pixels) < 1:
        raise UserError(f"--img-size wants a size, or height and width, not {' '.join(map(str, pixels))}")
    return pixels[0], pixels[1] if pixels[-1] != pixels[0] else None


def per_channel(arguments: argparse.Namespace, name: str, default: Sequence[float], channels: int) -> list[float]:
    """``--mean`` or ``--std``, a number per channel."""
    given = getattr(arguments, name)
    values = list(default)[:channels] if given is None else given
    if len(values) not in {1, channels}:
        raise UserError(f"--{name} wants 1 or {channels} numbers, not {len(values)}")
    if name == "std" and 0 in values:
        raise UserError("--std must not be 0")
    return values * channels if len(values) == 1 else values


def crop_of(arguments: argparse.Namespace, shape: Architecture, photographs: float) -> float:
    """``--crop``; by default that of photographs, and no resize of images so small that they are no photographs."""
    if arguments.crop is None:
        return photographs if shape.img_size > _SMALL else 1.0
    if not 0 < arguments.crop <= 1:
        raise UserError(f"--crop must be above 0 and at most 1, not {arguments.crop}")
    return float(arguments.crop)


def read_labels(path: str | None, classes: int) -> tuple[str, ...]:
    if path is None:
        return ()
    try:
        names = tuple(line.strip() for line in Path(path).read_text(encoding="utf-8-sig").splitlines() if line.strip())
    except UnicodeDecodeError as error:
        raise UserError(f"{path} must be a text file, a class name a line: {error}") from None
    if len(names) != classes:
        raise UserError(f"{path} must name {classes} classes, a line each, not {len(names)}")
    return names


def load_tensors(arguments: argparse.Namespace) -> dict[str, NDArray[Any]]:
    """The checkpoint's tensors; what was chosen is said. Raises UserError if the model would take its place."""
    path, output = arguments.checkpoint, arguments.output
    tensors, taken = load_checkpoint(path)
    if taken:
        print(f"{path}: took {taken}", file=sys.stderr)
    if Path(output).exists() and Path(output).samefile(path):
        raise UserError(f"-o {output} is the checkpoint itself: the model wants a file of its own")
    return tensors


def save(model: Model, path: str) -> None:
    """Writes the model, and says what was written."""
    size = save_model(model, path)
    print(
        f"wrote {path}: {len(model.nodes)} operators, {model.macs:,} MACs per "
        f"{'text' if model.text else 'image'}, {size:,} bytes",
        file=sys.stdout if Path(path).is_file() else sys.stderr,
    )

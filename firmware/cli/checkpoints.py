"""import-ivit and quantize: checkpoints become integer model files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from firmware.architectures import ARCHITECTURES, IMAGENET, Architecture
from firmware.checkpoint import load_checkpoint
from firmware.dataset import open_dataset
from firmware.errors import UserError
from firmware.families import POOLS, official_tensors
from firmware.files import Outputs
from firmware.identify import describe, foreign, identify, is_official, special, twins
from firmware.ivit import model_from_state
from firmware.model_file import save_model
from firmware.preprocess import normalise
from firmware.progress import shown
from firmware.quantizer import (
    RANGES,
    RECIPES,
    LossReport,
    Measurement,
    Recipe,
    Trial,
    as_json,
    plot_kind,
    quantize,
    sensitivities,
    show_trials,
    split,
    try_recipes,
)  # fmt: skip
from firmware.report import write_json
from hw.spec.model import Model

__all__ = ["import_command", "quantize_command", "register", "save"]

_OFFICIAL_CROP = 0.875  # of I-ViT's validation
_SMALL = 32  # pixels; I-ViT's validation does not resize images that are not larger
_FOLDER_IMAGES = 32  # calibration images taken of a folder


def register(commands: Any) -> None:
    """Adds the commands' grammars to argparse's sub-parsers."""
    imported = commands.add_parser("import-ivit", help="checkpoint of the official I-ViT training -> integer model")
    imported.set_defaults(function=import_command)
    imported.add_argument("checkpoint", help=".pth.tar as quant_train.py saves it, or safetensors")
    _add_common(imported)
    quantized = commands.add_parser("quantize", help="float checkpoint with timm's names -> integer model")
    quantized.set_defaults(function=quantize_command)
    quantized.add_argument("checkpoint", help="state dict of a ViT, DeiT or Swin, .pth or safetensors")
    quantized.add_argument(
        "--calibrate", "--images", dest="images", required=True, metavar="IMAGES",
        help="folder of images or of class folders, image file, or .npy of uint8 pixels [n, C, H, W]",
    )  # fmt: skip
    quantized.add_argument(
        "--count", type=int, help=f"images used; default: all of a file, {_FOLDER_IMAGES} of a folder"
    )
    quantized.add_argument(
        "--recipe", choices=tuple(RECIPES), help="only this one; by default all are tried and the nearest is kept"
    )
    quantized.add_argument(
        "--gelu", choices=("table", "shift"), help="exact by a table, or ShiftGELU: such recipes only"
    )
    quantized.add_argument(
        "--ranges", choices=tuple(RANGES), help="a recipe of your own: one scale per tensor, chosen in this way"
    )
    quantized.add_argument(
        "--equalise", action="store_true", help="of your own: powers of two per channel of LayerNorm outputs"
    )
    quantized.add_argument(
        "--correct-attention",
        action="store_true",
        help="of your own: probabilities have the scale that makes their rows sum up to 1",
    )
    quantized.add_argument(
        "--pool", choices=POOLS, help="what a ViT's head reads: the class token (default) or the mean of the patches"
    )
    quantized.add_argument(
        "--report", metavar="FILE",
        help="write what every quantizer costs, JSON; each is tried alone, which takes half a network for each",
    )  # fmt: skip
    quantized.add_argument(
        "--plot", metavar="FILE", help="draw that, .svg or .png; each quantizer is tried alone for it, too"
    )
    _add_common(quantized)


def _add_common(command: argparse.ArgumentParser) -> None:
    command.add_argument("--arch", metavar="NAME", help=f"checked if given: {', '.join(ARCHITECTURES)}")
    for name in ("patch", "dim", "classes"):
        command.add_argument(f"--{name}", type=int, help="checked if given")
    command.add_argument(
        "--img-size", type=int, nargs="+", metavar="PIXELS",
        help="checked if given; height and width of images that are not square. Float position embeddings are fitted",
    )  # fmt: skip
    command.add_argument("--depth", type=int, nargs="+", help="blocks, of a Swin one number per stage; checked")
    command.add_argument("--heads", type=int, nargs="+", help="of a ViT, whose tensors do not tell; default: dim / 64")
    command.add_argument("--attention-bits", type=int, choices=(8, 16), help="default: 16, of a Swin 8, as I-ViT")
    command.add_argument("--mean", type=float, nargs="+", help="of pixel/255; default: the architecture's")
    command.add_argument("--std", type=float, nargs="+", help="of pixel/255; default: the architecture's")
    command.add_argument("--crop", type=float, help="share of a resized photograph's shorter side that is shown")
    command.add_argument("--labels", metavar="FILE", help="names of the classes, a line each")
    command.add_argument("--name", help="name stored in the model; default: the architecture's")
    command.add_argument("-o", "--output", required=True)


def _identify(arguments: argparse.Namespace, state: Mapping[str, NDArray[Any]]) -> Architecture:
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


def _per_channel(arguments: argparse.Namespace, name: str, default: Sequence[float], channels: int) -> list[float]:
    """``--mean`` or ``--std``, a number per channel."""
    given = getattr(arguments, name)
    values = list(default)[:channels] if given is None else given
    if len(values) not in {1, channels}:
        raise UserError(f"--{name} wants 1 or {channels} numbers, not {len(values)}")
    if name == "std" and 0 in values:
        raise UserError("--std must not be 0")
    return values * channels if len(values) == 1 else values


def _crop(arguments: argparse.Namespace, shape: Architecture, photographs: float) -> float:
    """``--crop``; by default that of photographs, and no resize of images so small that they are no photographs."""
    if arguments.crop is None:
        return photographs if shape.img_size > _SMALL else 1.0
    if not 0 < arguments.crop <= 1:
        raise UserError(f"--crop must be above 0 and at most 1, not {arguments.crop}")
    return float(arguments.crop)


def _read_labels(path: str | None, classes: int) -> tuple[str, ...]:
    if path is None:
        return ()
    try:
        names = tuple(line.strip() for line in Path(path).read_text(encoding="utf-8-sig").splitlines() if line.strip())
    except UnicodeDecodeError as error:
        raise UserError(f"{path} must be a text file, a class name a line: {error}") from None
    if len(names) != classes:
        raise UserError(f"{path} must name {classes} classes, a line each, not {len(names)}")
    return names


def _load(path: str) -> dict[str, NDArray[Any]]:
    """A checkpoint's tensors; what was chosen is said."""
    tensors, taken = load_checkpoint(path)
    if taken:
        print(f"{path}: took {taken}", file=sys.stderr)
    return tensors


def import_command(arguments: argparse.Namespace) -> int:
    """Checkpoint of the official I-ViT training -> integer model file, its integers unchanged."""
    Outputs(arguments.output)
    state = _load(arguments.checkpoint)
    if not is_official(state):
        raise UserError(f"{arguments.checkpoint} holds no integer weights: it is a float checkpoint, use quantize")
    shape = _identify(arguments, state)
    mean, std = IMAGENET  # the official training's for every architecture
    model = model_from_state(
        state,
        name=arguments.name or shape.name,
        image=shape.image,
        patch=shape.patch,
        heads=shape.heads[0] if shape.heads else None,
        mean=_per_channel(arguments, "mean", mean, shape.channels),
        std=_per_channel(arguments, "std", std, shape.channels),
        attention_bits=arguments.attention_bits,
        labels=_read_labels(arguments.labels, shape.classes),
    )
    print(f"{shape.name}: {describe(shape)}")
    save(replace(model, crop=_crop(arguments, shape, _OFFICIAL_CROP)), arguments.output)
    return 0


def quantize_command(arguments: argparse.Namespace) -> int:
    """Float checkpoint + calibration images -> integer model file, and what every quantizer costs."""
    outputs = Outputs(arguments.output, arguments.report, arguments.plot)
    drawn = plot_kind(arguments.plot) if arguments.plot else ""
    weights = _load(arguments.checkpoint)
    if is_official(weights):
        raise UserError(f"{arguments.checkpoint} holds integer weights: it is an I-ViT checkpoint, use import-ivit")
    family, weights = official_tensors(weights, pool=arguments.pool)
    shape = _preprocessing(arguments, _identify(arguments, weights))
    print(f"{arguments.checkpoint}: taken for {shape.name}: {describe(shape)}")
    told = [word for word in ("heads" if arguments.heads or arguments.arch else "", arguments.pool) if word]
    for remark in family.remarks(weights, shape, told):
        print(remark)
    labels = _read_labels(arguments.labels, shape.classes)
    if labels and shape.features:
        raise UserError(f"{arguments.checkpoint} has no head and gives features: --labels cannot name them")
    mean, std = shape.statistics
    images = normalise(_calibration_images(arguments, shape), mean, std)
    recipes, console = _recipes(arguments), Console()

    def make(recipe: Recipe, measure: Measurement) -> Model:
        return quantize(
            weights, images, name=arguments.name or Path(arguments.output).stem,
            patch=shape.patch, heads=shape.heads[0] if shape.heads else None, mean=mean, std=std,
            attention_bits=arguments.attention_bits, pool=arguments.pool, recipe=recipe, labels=labels, measure=measure,
        )  # fmt: skip

    with shown(f"quantizing by {len(recipes)} recipes", "operators") as update:
        trials = _try(recipes, make, update)
    if len(trials) > 1:
        show_trials(trials, console)
    model, measure = trials[0].model, trials[0].measure
    losses = _losses(measure, alone=bool(arguments.report or arguments.plot))
    losses.show(console)
    measure.show(console)
    outputs.attempt(lambda: save(replace(model, crop=shape.crop), arguments.output))
    if arguments.report:
        how = {"recipe": trials[0].name, **asdict(trials[0].recipe), "trials": as_json(trials)}
        report = {"model": model.name, **how, **measure.report(), **losses.report()}
        outputs.write(arguments.report, partial(write_json, report))
    outputs.write(arguments.plot, partial(losses.write_plot, drawn))
    outputs.finish()
    return 0


def _recipes(arguments: argparse.Namespace) -> dict[str, Recipe]:
    """What to try. Raises UserError for options that contradict each other."""
    own = {key: getattr(arguments, key) for key in ("ranges", "equalise", "correct_attention")}
    given = {key: value for key, value in own.items() if value}
    if arguments.recipe and given:
        raise UserError(f"--recipe {arguments.recipe} is a whole recipe, and --{next(iter(given))} makes another")
    if given:
        return {"own": Recipe(**given, gelu=arguments.gelu or "shift", doc="of the command line")}
    found = {name: RECIPES[name] for name in ([arguments.recipe] if arguments.recipe else RECIPES)}
    if arguments.gelu:
        found = {name: recipe for name, recipe in found.items() if recipe.gelu == arguments.gelu}
        if not found:
            raise UserError(f"recipe {arguments.recipe} is not one with --gelu {arguments.gelu}")
    return found


def _try(
    recipes: Mapping[str, Recipe], make: Callable[[Recipe, Measurement], Model], update: Callable[..., None]
) -> list[Trial]:
    """The trials, counted in operators; how many a network has is known after the first."""
    seen: dict[str, int] = {}

    def told(name: str, node: str) -> None:
        seen[name] = seen.get(name, 0) + 1
        first = next(iter(seen.values()))
        total = first * len(recipes) if len(seen) > 1 else None
        update(sum(seen.values()), total, f"{name} at {node}")

    return try_recipes(recipes, make, told)


def _losses(measure: Measurement, *, alone: bool) -> LossReport:
    """The split of the loss, and each quantizer `alone` where that is asked for."""
    with shown("splitting the loss", "operators") as update:
        parts = split(measure, progress=update)
    if not alone:
        return LossReport(measure=measure, parts=parts, noise={})
    with shown("each quantizer alone", "quantizers") as update:
        return LossReport(measure=measure, parts=parts, noise=sensitivities(measure, progress=update))


def _preprocessing(arguments: argparse.Namespace, shape: Architecture) -> Architecture:
    """`shape` with the statistics and crop that the command line gives. Raises UserError where they are a guess."""
    alike = twins(shape)
    if alike and arguments.arch is None and (arguments.mean is None or arguments.std is None):
        raise UserError(
            f"{' and '.join(alike)} have the same tensors but other pixel statistics: --arch, or --mean and --std, "
            "must say which it is"
        )
    mean, std = (
        _per_channel(arguments, name, default, shape.channels)
        for name, default in zip(("mean", "std"), shape.statistics, strict=True)
    )
    return replace(shape, statistics=(mean, std), crop=_crop(arguments, shape, shape.crop))


def _calibration_images(arguments: argparse.Namespace, shape: Architecture) -> NDArray[np.uint8]:
    limit = arguments.count
    if limit is None and Path(arguments.images).is_dir():
        limit = _FOLDER_IMAGES
    dataset = open_dataset(arguments.images, limit=limit)
    pixels = dataset.read(shape)
    if pixels.dtype != np.uint8:
        raise UserError(f"calibration images {arguments.images} must be uint8 pixels, not {pixels.dtype}")
    return pixels


def save(model: Model, path: str) -> None:
    """Writes the model, and says what was written."""
    size = save_model(model, path)
    print(
        f"wrote {path}: {len(model.nodes)} operators, {model.macs:,} MACs per image, {size:,} bytes",
        file=sys.stdout if Path(path).is_file() else sys.stderr,
    )

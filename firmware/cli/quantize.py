"""quantize: a float checkpoint and images become an integer model file."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from firmware.architectures import Architecture
from firmware.cli.checkpoints import (
    add_common,
    crop_of,
    identified,
    load_tensors,
    per_channel,
    read_labels,
    save,
)
from firmware.cli.texts import texts
from firmware.cli.trials import Pixels, Subject, shared, tried, widened
from firmware.dataset import open_dataset
from firmware.errors import UserError
from firmware.families import POOLS, Family, official_tensors
from firmware.files import Outputs
from firmware.graph.rivals import GELUS, NORMS, SOFTMAXES
from firmware.identify import describe, is_official, twins
from firmware.plots import plot_kind, save_figure
from firmware.preprocess import normalise
from firmware.progress import shown
from firmware.quantizer import (
    RANGES,
    RECIPES,
    LossReport,
    Measurement,
    Recipe,
    as_json,
    quantize,
    sensitivities,
    show_trials,
    split,
)  # fmt: skip
from firmware.report import write_json
from hw.boards.registry import find
from hw.spec.model import Model

__all__ = ["quantize_command", "register"]

_FOLDER_IMAGES = 32  # calibration images taken of a folder


def register(commands: Any) -> None:
    """Adds the command's grammar to argparse's sub-parsers."""
    quantized = commands.add_parser("quantize", help="float checkpoint with timm's names -> integer model")
    quantized.set_defaults(function=quantize_command)
    quantized.add_argument("checkpoint", help="state dict of a ViT, DeiT, Swin or BERT, .pth or safetensors")
    quantized.add_argument(
        "--calibrate", "--images", dest="images", required=True, metavar="IMAGES",
        help="folder of images or of class folders, image file, or .npy of uint8 pixels [n, C, H, W]; of a network of "
        "text a file with a text a line",
    )  # fmt: skip
    quantized.add_argument(
        "--count", type=int, help=f"how many images calibrate (default: all of a file, {_FOLDER_IMAGES} of a folder)"
    )
    quantized.add_argument(
        "--tokenizer", metavar="FILE", help="of text: the tokenizer (default: tokenizer.json beside the checkpoint)"
    )
    quantized.add_argument(
        "--recipe",
        choices=tuple(RECIPES),
        help="quantize by this one only (default: all are tried and the nearest to the float network is kept)",
    )
    quantized.add_argument(
        "--gelu", choices=GELUS, help="only recipes whose GELU is exact by a table, or is ShiftGELU; or I-BERT's in all"
    )
    quantized.add_argument("--softmax", choices=SOFTMAXES, default=SOFTMAXES[0], help="the softmax of all recipes")
    quantized.add_argument("--norm", choices=NORMS, default=NORMS[0], help="the LayerNorm of all recipes")
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
        "--pool",
        choices=POOLS,
        help="what a ViT's head reads: the class token (default) or the mean of the patches; what a BERT's feature is: "
        "the mean of the tokens (default) or the first one",
    )
    quantized.add_argument(
        "--report", metavar="FILE",
        help="write what every quantizer costs, JSON; each is tried alone, which takes half a network for each",
    )  # fmt: skip
    quantized.add_argument(
        "--plot", metavar="FILE", help="draw that, .svg or .png; each quantizer is tried alone for it, too"
    )
    quantized.add_argument(
        "--budget", type=float, default=1.0, metavar="RATIO",
        help="times the cycles of the all-8-bit program, as 1.1, for 16-bit inputs where they help most",
    )  # fmt: skip
    quantized.add_argument("--board", default="arty_a7", help="whose cycles --budget counts")
    add_common(quantized)


def quantize_command(arguments: argparse.Namespace) -> int:
    """Float checkpoint + calibration images -> integer model file, and what every quantizer costs."""
    outputs = Outputs(arguments.output, arguments.report, arguments.plot)
    if not arguments.budget >= 1:
        raise UserError(f"--budget must be at least 1, the cycles of 8-bit inputs, not {arguments.budget:g}")
    board = find(arguments.board)
    drawn = plot_kind(arguments.plot, "--plot") if arguments.plot else ""
    weights = load_tensors(arguments)
    if is_official(weights):
        raise UserError(f"{arguments.checkpoint} holds integer weights: it is an I-ViT checkpoint, use import-ivit")
    family, weights = official_tensors(weights, pool=arguments.pool)
    subject = (texts if family.text else _pictures)(arguments, family, weights)
    recipes, console = _recipes(arguments), Console()
    spending = None
    used, held = subject.shared() if len(recipes) > 1 else (subject.every, None)
    with shown(f"quantizing by {len(recipes)} recipes", "operators") as update:
        trials = tried(recipes, partial(subject.make, of=used), update, held)
    best = trials[0]
    if len(trials) > 1:
        show_trials(trials, console)
    make = partial(subject.make, of=subject.every)
    if len(used) < len(subject.every):
        with shown(f"quantizing by {best.name} with all {len(subject.every)} {subject.called}", "operators") as update:
            best = tried({best.name: best.recipe}, make, update)[0]
    if arguments.budget > 1:
        best, spending = widened(best, make, board, arguments.budget, batch=subject.batch, alone=subject.alone)
        spending.show(board.name, console)
    model, measure = best.model, best.measure
    outputs.attempt(lambda: save(subject.finish(model), arguments.output))
    losses = _losses(measure, alone=bool(arguments.report or arguments.plot))
    losses.show(console)
    measure.show(console)
    if arguments.report:
        how = {
            "recipe": best.name, **asdict(best.recipe), "wide": sorted(best.recipe.wide), "trials": as_json(trials),
            **({"budget": spending.report(board.name)} if spending else {}),
        }  # fmt: skip
        report = {"model": model.name, **how, **measure.report(), **losses.report()}
        outputs.write(arguments.report, partial(write_json, report))
    outputs.write(arguments.plot, lambda file: save_figure(losses.plot(), drawn, file))
    outputs.finish()
    return 0


def _pictures(arguments: argparse.Namespace, family: Family, weights: Mapping[str, NDArray[Any]]) -> Subject:
    """A network of images, which it says what it is taken for. Raises UserError."""
    if arguments.tokenizer:
        raise UserError(f"{arguments.checkpoint} reads images: --tokenizer is for text")
    shape = _preprocessing(arguments, identified(arguments, weights))
    print(f"{arguments.checkpoint}: taken for {shape.name}: {describe(shape)}")
    told = [word for word in ("heads" if arguments.heads or arguments.arch else "", arguments.pool) if word]
    for remark in family.remarks(weights, shape, told):
        print(remark)
    labels = read_labels(arguments.labels, shape.classes)
    if labels and shape.features:
        raise UserError(f"{arguments.checkpoint} has no head and gives features: --labels cannot name them")
    mean, std = shape.statistics
    pixels = _calibration_images(arguments, shape)

    def make(recipe: Recipe, measure: Measurement, of: NDArray[np.uint8]) -> Model:
        return quantize(
            weights, normalise(of, mean, std), name=arguments.name or Path(arguments.output).stem,
            patch=shape.patch, heads=shape.heads[0] if shape.heads else None, mean=mean, std=std,
            attention_bits=arguments.attention_bits, pool=arguments.pool, recipe=recipe, labels=labels, measure=measure,
        )  # fmt: skip

    def halves() -> tuple[NDArray[np.uint8], Pixels | None]:
        used, held = shared(pixels, weights, shape)
        return used, None if held is None else Pixels(held)

    return Subject(
        every=pixels, called="images", make=make, shared=halves, finish=lambda model: replace(model, crop=shape.crop)
    )


def _recipes(arguments: argparse.Namespace) -> dict[str, Recipe]:
    """What to try. Raises UserError for options that contradict each other."""
    own = {key: getattr(arguments, key) for key in ("ranges", "equalise", "correct_attention")}
    given = {key: value for key, value in own.items() if value}
    rivals = {"softmax": arguments.softmax, "norm": arguments.norm}
    if arguments.gelu == "int_gelu":
        if arguments.budget > 1:
            raise UserError("--budget gives linears inputs of 16 bits, and what --gelu int_gelu gives has 8")
        rivals["gelu"] = arguments.gelu
    if arguments.recipe and given:
        raise UserError(f"--recipe {arguments.recipe} is a whole recipe, and --{next(iter(given))} makes another")
    if given:
        return {"own": Recipe(**given, **{"gelu": arguments.gelu or "shift", **rivals}, doc="of the command line")}
    found = {name: replace(RECIPES[name], **rivals) for name in ([arguments.recipe] if arguments.recipe else RECIPES)}
    if arguments.gelu in {"table", "shift"}:
        found = {name: recipe for name, recipe in found.items() if recipe.gelu == arguments.gelu}
        if not found:
            raise UserError(f"recipe {arguments.recipe} is not one with --gelu {arguments.gelu}")
    return found


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
        per_channel(arguments, name, default, shape.channels)
        for name, default in zip(("mean", "std"), shape.statistics, strict=True)
    )
    return replace(shape, statistics=(mean, std), crop=crop_of(arguments, shape, shape.crop))


def _calibration_images(arguments: argparse.Namespace, shape: Architecture) -> NDArray[np.uint8]:
    limit = arguments.count
    if limit is None and Path(arguments.images).is_dir():
        limit = _FOLDER_IMAGES
    dataset = open_dataset(arguments.images, limit=limit)
    pixels = dataset.read(shape)
    if pixels.dtype != np.uint8:
        raise UserError(f"calibration images {arguments.images} must be uint8 pixels, not {pixels.dtype}")
    return pixels

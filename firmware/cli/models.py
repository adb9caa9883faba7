"""make-model and inspect: models of known shapes, and what is in a model."""

from __future__ import annotations

import argparse
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from firmware.architectures import ARCHITECTURES, architecture
from firmware.cli.checkpoints import save
from firmware.errors import UserError
from firmware.families import family_of_model
from firmware.files import Outputs, array
from firmware.make_model import images, make_model
from firmware.model_file import load_model
from firmware.screen import show
from hw.spec.model import Model
from hw.spec.operators import OPERATORS, Shiftmax

__all__ = ["inspect_command", "make_model_command", "register"]

_SIZES = {
    "img-size": "pixels of an image's side, instead of the architecture's",
    "patch": "pixels of a patch's side, instead of the architecture's",
    "dim": "channels of the (first) stage, instead of the architecture's",
    "window": "tokens of a window's side of a Swin, instead of the architecture's",
    "classes": "how many classes, instead of the architecture's",
    "depth": "blocks, one number per stage, instead of the architecture's: few make small models",
    "heads": "attention heads, one number per stage, instead of the architecture's",
}


def register(commands: Any) -> None:
    """Adds the commands' grammars to argparse's sub-parsers."""
    made = commands.add_parser(
        "make-model",
        help="an architecture with seeded random weights -> integer model: to try boards without a checkpoint",
    )
    made.set_defaults(function=make_model_command)
    made.add_argument("architecture", help=f"a timm name: {', '.join(ARCHITECTURES)}")
    made.add_argument(
        "--seed", type=int, default=0, help="of the random weights: equal seeds give equal models (default 0)"
    )
    for name in ("img-size", "patch", "dim", "window", "classes"):
        made.add_argument(f"--{name}", type=int, help=_SIZES[name])
    for name in ("depth", "heads"):
        made.add_argument(f"--{name}", type=int, nargs="+", help=_SIZES[name])
    made.add_argument(
        "--attention-bits", type=int, choices=(8, 16), help="of the attention probabilities (default: 16, of a Swin 8)"
    )
    made.add_argument(
        "--calibration",
        type=int,
        default=2,
        metavar="COUNT",
        help="random images that the scales are chosen from (default 2)",
    )
    made.add_argument("--images", metavar="FILE", help="also write those images, .npy, to run the model on")
    made.add_argument("--name", help="name stored in the model; default: the architecture's")
    made.add_argument("-o", "--output", required=True, metavar="FILE", help="the model file to write")

    inspect = commands.add_parser("inspect", help="print what is in a model file: stages, operators, preprocessing")
    inspect.set_defaults(function=inspect_command)
    inspect.add_argument("model", help="a model file of import-ivit, quantize or make-model")


def make_model_command(arguments: argparse.Namespace) -> int:
    """A known architecture with seeded random weights -> integer model file."""
    keys = ("img_size", "patch", "dim", "window", "depth", "heads", "classes")
    changes = {key: getattr(arguments, key) for key in keys}
    shape = architecture(arguments.architecture, **changes)
    if not 1 <= arguments.calibration <= 256 or arguments.seed < 0:
        raise UserError("--calibration must be from 1 to 256 and --seed at least 0")
    outputs = Outputs(arguments.output, arguments.images)
    model = make_model(
        shape, seed=arguments.seed, attention_bits=arguments.attention_bits, calibration=arguments.calibration,
        name=arguments.name,
    )  # fmt: skip
    outputs.write(arguments.images, array(images(shape, arguments.calibration, arguments.seed)))
    outputs.attempt(lambda: save(model, arguments.output))
    outputs.finish()
    return 0


def inspect_command(arguments: argparse.Namespace) -> int:
    """Prints what is in a model file."""
    model = load_model(arguments.model)
    console = Console()
    show(_stages(model), console)
    table = Table(title="every node", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("node", "operator", "inputs", "attributes", "tensors"):
        table.add_column(heading)
    for node in model.nodes:
        tensors = [
            f"{key.rpartition('.')[2]} {array.dtype}{list(array.shape)}"
            for key, array in model.tensors.items()
            if key.rpartition(".")[0] == node.name
        ]
        attributes = " ".join(f"{key}={value}" for key, value in node.attributes.items())
        table.add_row(node.name, node.op, " ".join(node.inputs), attributes, "\n".join(tensors))
    show(table, console)
    if model.text:
        words, most = (len(model.tensor(model.nodes[0], table)) for table in ("word", "position"))
        console.print(f"texts of 1 to {most} tokens, {words:,} words, input scale {model.input_scale:.6g}")
    else:
        mean, std = (" ".join(f"{value:g}" for value in values) for values in (model.mean, model.std))
        console.print(f"pixels: crop {model.crop:g}, mean {mean}, deviation {std}, input scale {model.input_scale:.6g}")
    bits = {node.attributes["bits"] for node in model.nodes if issubclass(OPERATORS[node.op], Shiftmax)}
    console.print(f"attention probabilities of {' and '.join(map(str, sorted(bits)))} bits")
    parameters = sum(array.size for array in model.tensors.values())
    gives = "features" if model.features else "classes"
    read = {"pool": "the mean of tokens", "mean": "the mean of tokens", "class_token": "the class token"}
    of = next((text for op, text in read.items() if any(node.op == op for node in model.nodes)), "the graph's end")
    each = "text" if model.text else "image"
    console.print(f"{model.classes} {gives} of {of}, {parameters:,} constants, {model.macs:,} MACs per {each}")
    return 0


def _stages(model: Model) -> Table:
    """What the blocks of each stage have in common; a ViT has one stage."""
    what = f"texts of {model.image[1]} tokens" if model.text else f"image {list(model.image)}, patch {model.patch}"
    table = Table(title=f"{model.name}: {what}", box=box.SIMPLE, padding=0)
    for heading in ("stage", "blocks", "tokens", "width", "heads", "hidden", "window", "shifted", "MACs"):
        table.add_column(heading, justify="right")
    for number, stage in enumerate(family_of_model(model).stages(model)):
        row = (number, stage.blocks, stage.tokens, stage.width, stage.heads, stage.hidden)
        table.add_row(*map(str, row), str(stage.window or "-"), str(stage.shifted), f"{stage.macs:,}")
    return table

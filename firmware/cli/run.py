"""run and profile: images through a device or the golden model, and the report."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from firmware.compiler import Program, compile_model
from firmware.dataset import open_dataset
from firmware.device import Accelerator
from firmware.devices import Golden, open_device
from firmware.errors import UserError
from firmware.files import Outputs, array
from firmware.locate import locate
from firmware.model_file import load_model
from firmware.plots import plot_kind, save_figure
from firmware.preprocess import to_int8
from firmware.progress import running, sending, step
from firmware.report import add_roofline, build_report, draw_roofline, first_difference, print_report, write_json
from firmware.timeline import block_of, timeline, timeline_figure
from firmware.trace import build_trace, write_trace
from firmware.transport import DeviceError, Stated, Traced, parse_target
from hw.spec.model import Model

__all__ = ["register", "run_command"]

_MANY = 256  # images whose reading is told


def register(commands: Any) -> None:
    """Adds the commands' grammars to argparse's sub-parsers."""
    for name, layers, text in (
        ("run", False, "show what images show: on a board, a simulated one, or the golden model"),
        ("profile", True, "the same, with images per second and the cycles of every layer"),
    ):
        run = commands.add_parser(name, help=text)
        run.set_defaults(function=run_command, layers=layers)
        run.add_argument("model", help="a model file of import-ivit, quantize or make-model")
        run.add_argument(
            "--images", required=True, nargs="+", metavar="IMAGES",
            help="image files, a folder of images or of class folders, or .npy [n, C, H, W]",
        )  # fmt: skip
        run.add_argument(
            "--labels",
            help=".npy of class numbers, or text: one a line, after the file's name if you like; prints the accuracy",
        )
        run.add_argument("--count", type=int, help="use only the first COUNT images")
        run.add_argument(
            "--device", default="sim:arty_a7", help="golden, sim:BOARD, serial:PORT or udp:IP (default sim:arty_a7)"
        )
        run.add_argument(
            "--batch",
            type=int,
            default=1,
            help="images interleaved in one program: more keep the array busier (default 1)",
        )
        run.add_argument(
            "--check",
            action="store_true",
            help="compare every logit with the golden model, and find the first tensor that differs",
        )
        run.add_argument("--logits", metavar="FILE", help="write the integer logits of all classes, .npy")
        run.add_argument(
            "--json", "--report", dest="report", metavar="FILE",
            help="write everything that is printed and more; docs/reference/run.md has the keys",
        )  # fmt: skip
        run.add_argument("--trace", metavar="FILE", help="write what every engine did when, for ui.perfetto.dev (JSON)")
        run.add_argument(
            "--roofline", nargs="?", const=True, metavar="FILE",
            help="print the roofline of every layer; draw it into a file, .svg or .png, if one is given",
        )  # fmt: skip
        run.add_argument("--timeline", metavar="FILE", help="draw what every engine did during one block, .svg or .png")
        run.add_argument(
            "--block", metavar="NAME", help="whose time --timeline draws, as blocks.3 (default: the first one)"
        )


def run_command(arguments: argparse.Namespace) -> int:
    """Runs images on a device; 1 if ``--check`` finds a difference. Writes whatever it can of what was asked for."""
    plots = _plots(arguments)
    outputs = Outputs(arguments.logits, arguments.report, arguments.trace, *plots.values())
    for option, path in plots.items():
        plot_kind(path, f"--{option}")
    if arguments.block and not arguments.timeline:
        raise UserError(f"--block {arguments.block} is what --timeline draws, which is not given")
    model = load_model(arguments.model)
    if model.text:
        raise UserError(f"model {model.name} reads text: python -m firmware embed runs it")
    dataset = open_dataset(arguments.images, arguments.labels, arguments.count)
    with step(f"reading {len(dataset)} images", at_once=False) if len(dataset) > _MANY else nullcontext():
        images = to_int8(dataset.read(model), model)
    labels = None if model.features and arguments.labels is None else dataset.targets(model)
    console = Console()
    report, logits = _execute(arguments, model, images, outputs)
    outputs.write(arguments.logits, array(logits))
    report["model"] = model.name
    status = 0
    if arguments.check:
        difference = first_difference(model.nodes[-1].name, _golden(model, images), logits)
        report["bit_exact"] = difference is None
        if difference:
            report["first_difference"] = {**difference, "image": difference["index"][0]}
            outputs.attempt(lambda: _locate(arguments, model, images, report["first_difference"]))
            status = 1
    if model.features:
        report["features"] = {"width": model.classes, "file": arguments.logits}
    else:
        report.update(_classes(model, logits, dataset.names(), labels))
    outputs.write(arguments.report, partial(write_json, report))
    print_report(report, console, layers=arguments.layers)
    outputs.finish()
    return status


def _plots(arguments: argparse.Namespace) -> dict[str, str]:
    """Option -> file, of the plots that are wanted."""
    options = ("roofline", "timeline")
    return {option: path for option in options if isinstance(path := getattr(arguments, option), str)}


def _draw(outputs: Outputs, arguments: argparse.Namespace, option: str, make: Callable[[], Any]) -> None:
    """Writes the Figure that `make` makes, if it is wanted."""
    path = _plots(arguments).get(option)
    outputs.write(path, lambda file: save_figure(make(), plot_kind(str(path), f"--{option}"), file))


def _classes(
    model: Model, logits: NDArray[np.int32], names: Sequence[str], labels: NDArray[np.int64] | None
) -> dict[str, Any]:
    """What images show, and the accuracy where that is known."""
    likeliest = model.classify(logits)
    report: dict[str, Any] = {
        "classes": [
            {"image": name, "top": [asdict(candidate) for candidate in best]}
            for name, best in zip(names, likeliest, strict=True)
        ]
    }
    if labels is not None:
        found = np.array([best[0].index for best in likeliest])
        report["accuracy"] = float((found == labels).mean())
    return report


def _execute(
    arguments: argparse.Namespace, model: Model, images: NDArray[np.int8], outputs: Outputs
) -> tuple[dict[str, Any], NDArray[np.int32]]:
    board, batch = parse_target(arguments.device).board, min(arguments.batch, len(images))
    # What cannot run there is refused before a simulation is compiled.
    with step(f"compiling {model.name} for {board.name}", at_once=False) if board else nullcontext():
        ready = compile_model(model, board, batch=batch) if board else model
    with open_device(_target(arguments)) as device:
        traced = [f"--{option}" for option in ("trace", "timeline") if getattr(arguments, option)]
        if not device.clocked and (traced or arguments.roofline):
            raise UserError("the golden model has no cycles: --trace, --timeline and --roofline want a device")
        if traced and not isinstance(device.transport, Traced):
            raise UserError(
                f"this device cannot say when its instructions ran: {traced[0]} wants a simulation (sim:...)"
            )
        with sending(device.transport):
            program = device.load(ready, batch=batch)
        block = block_of(program, arguments.block) if program else ""
        runs = -(-len(images) // program.images) if program else 0
        with running(program.estimated_cycles * runs) if program else running(len(images), "images") as advance:
            logits = device.run(images, progress=advance)
        report = build_report(arguments.device, len(images), device)
        if program and isinstance(device.transport, Traced):
            outputs.write(arguments.trace, partial(_write_trace, device.transport, program, runs))
            title = f"{model.name} on {arguments.device}, {report.get('figures', '')}"
            _draw(outputs, arguments, "timeline", partial(_timeline, device.transport, program, runs, block, title))
        if program and arguments.roofline:
            add_roofline(report, program, device, runs)
            _draw(outputs, arguments, "roofline", partial(draw_roofline, report))
        return report, logits


def _locate(arguments: argparse.Namespace, model: Model, images: NDArray[np.int8], difference: dict[str, Any]) -> None:
    """Puts into `difference` the first tensor that differs for its image, unless a rerun is right.

    Raises UserError if the device cannot be run again.
    """
    image = difference["image"]
    with Golden() as golden:
        golden.load(model)
        trace = golden.trace(images[image : image + 1])
    try:
        with Accelerator.open(arguments.device) as device:
            difference.update(locate(device, model, images[image : image + 1], trace) or {})
    except DeviceError as error:
        raise UserError(f"the first tensor that differs was not found: {error}") from None


def _target(arguments: argparse.Namespace) -> str:
    """The device, asked to record its engines' states if a trace is wanted."""
    device: str = arguments.device
    if not arguments.trace or not device.startswith("sim:") or "states=" in device:
        return device
    return f"{device}{',' if '?' in device else '?'}states=1"


def _write_trace(transport: Traced, program: Program, runs: int, file: BinaryIO) -> None:
    states = transport.states() if isinstance(transport, Stated) else None
    try:
        trace = build_trace(program, transport.intervals(), states, runs=runs)
    except ValueError as error:
        raise UserError(f"--trace wants a run of all images in one start: {error}") from None
    write_trace(trace, file)


def _timeline(transport: Traced, program: Program, runs: int, block: str, title: str) -> Any:
    try:
        line = timeline(program, transport.intervals(), block, runs=runs)
    except ValueError as error:
        raise UserError(f"--timeline wants a run of all images in one start: {error}") from None
    return timeline_figure(line, title=title)


def _golden(model: Model, images: NDArray[np.int8]) -> NDArray[np.int32]:
    with Golden() as golden:
        golden.load(model)
        with running(len(images), "images", "checking") as advance:
            return golden.run(images, progress=advance)

"""The commands of `python -m firmware`: each takes parsed arguments and returns an exit status."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from safetensors import SafetensorError
from safetensors.numpy import load_file

from firmware.compiler import Program, compile_model
from firmware.device import Accelerator
from firmware.dram import load_controller, start
from firmware.errors import UserError
from firmware.link.transport import LinkTransport
from firmware.locate import locate
from firmware.make_model import architecture, images, make_model
from firmware.model_file import load_model, save_model
from firmware.preprocess import load_array, load_images, normalise, to_int8
from firmware.progress import levelling, running, sending
from firmware.quantize import quantize
from firmware.report import add_roofline, build_report, first_difference, print_report, write_json
from firmware.trace import build_trace, write_trace
from firmware.transport import Stated, Traced, open_transport
from hw.spec.config import PRESETS, Config, ConfigError, override, parse_settings
from hw.spec.model import Model

__all__ = [
    "compile_command",
    "dram_command",
    "inspect_command",
    "make_model_command",
    "quantize_command",
    "run_command",
]


def quantize_command(arguments: argparse.Namespace) -> int:
    """Float checkpoint + calibration images -> integer model file."""
    try:
        weights = load_file(arguments.checkpoint)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{arguments.checkpoint} is not a safetensors checkpoint: {error}") from None
    images = load_images(arguments.images, arguments.count)
    if images.dtype != np.uint8:
        raise UserError(f"calibration images must be uint8 pixels, not {images.dtype}")
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
    changes = {
        key: getattr(arguments, key) for key in ("img_size", "patch", "dim", "window", "depth", "heads", "classes")
    }
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


def board_config(arguments: argparse.Namespace) -> Config:
    """The Config of ``--board`` with ``--set``. Raises ConfigError."""
    if arguments.board not in PRESETS:
        raise ConfigError(f"unknown board {arguments.board!r}; known boards: {', '.join(PRESETS)}")
    return override(PRESETS[arguments.board], parse_settings(arguments.set))


def compile_command(arguments: argparse.Namespace) -> int:
    """Model file -> program files in a directory, and a summary."""
    model, config = load_model(arguments.model), board_config(arguments)
    program = compile_model(model, config, batch=arguments.batch)
    if arguments.output:
        _write_program(program, Path(arguments.output))
        print(f"wrote program.bin, model.bin and listing.txt to {arguments.output}")
    print(
        f"{model.name} on {arguments.board}: {program.instructions} instructions for {program.images} images, "
        f"super-tiles of {', '.join(map(str, sorted(set(program.tiles))))} tokens, {program.slots} in flight"
    )
    print(
        f"memory: program {len(program.code):,}, model {len(program.model_image):,}, work {program.work_bytes:,}, "
        f"input {program.input_bytes:,}, output {program.output_bytes:,} bytes"
    )
    share = program.macs / (program.estimated_cycles * config.macs_per_cycle)
    print(f"{program.estimated_cycles:,} cycles, utilisation {share:.1%} (estimated by the scheduler)")
    return 0


def _write_program(program: Program, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "program.bin").write_bytes(program.code)
    (directory / "model.bin").write_bytes(program.model_image.tobytes())
    with (directory / "listing.txt").open("w") as file:
        for index, instruction in enumerate(program.disassemble()):
            waits = " ".join(f"{engine.name}>={count}" for engine, count in instruction.waits.items())
            operands = " ".join(f"{name}={value}" for name, value in instruction.operands.items())
            file.write(f"{index:6} {instruction.op.name:12} [{waits}] {operands}\n")


def run_command(arguments: argparse.Namespace) -> int:
    """Runs images on a device; 1 if ``--check`` finds a difference."""
    model = load_model(arguments.model)
    images = to_int8(load_images(arguments.images, arguments.count), model)
    labels = _load_labels(arguments.labels, len(images)) if arguments.labels else None
    console = Console()
    report, logits = _execute(arguments, model, images)
    report["model"] = model.name
    status = 0
    if arguments.check:
        difference = first_difference(model.nodes[-1].name, _golden(model, images), logits)
        report["bit_exact"] = difference is None
        if difference:
            report["first_difference"] = _locate(arguments, model, images, difference)
            status = 1
    if labels is not None:
        classes = (logits * model.logit_scale.astype(np.float64)).argmax(1)
        report["accuracy"] = float((classes == labels).mean())
    if arguments.logits:
        np.save(arguments.logits, logits)
    if arguments.report:
        write_json(report, arguments.report)
    print_report(report, console, layers=arguments.layers)
    return status


def dram_command(arguments: argparse.Namespace) -> int:
    """Starts the memory of a board, and prints where it reads right."""
    controller = load_controller(arguments.build)
    transport = open_transport(arguments.device)
    try:
        if not isinstance(transport, LinkTransport):
            raise UserError(f"{arguments.device} is no board: its memory needs no start")
        with levelling() as report:
            eyes = start(transport.link, controller, report=report)
    finally:
        transport.close()
    for eye in eyes:
        print(
            f"module {eye.module}: bitslip {eye.bitslip}, delays {eye.first} to {eye.last} read right, {eye.delay} set"
        )
    print("the memory is ready")
    return 0


def _execute(
    arguments: argparse.Namespace, model: Model, images: NDArray[np.int8]
) -> tuple[dict[str, Any], NDArray[np.int32]]:
    if arguments.device == "golden":
        if arguments.trace or arguments.roofline:
            raise UserError("the golden model has no cycles: --trace and --roofline want a device")
        return build_report("golden", len(images), None), _golden(model, images)
    with Accelerator.open(_target(arguments)) as device:
        with sending(device.transport):
            program = device.load(model, batch=min(arguments.batch, len(images)))
        runs = -(-len(images) // program.images)
        with running(program.estimated_cycles * runs) as advance:
            logits = device.run(images, progress=advance)
        report = build_report(arguments.device, len(images), device.profile())
        if arguments.trace:
            _write_trace(device, program, runs, arguments.trace)
        if arguments.roofline:
            add_roofline(report, program, device.profile(), runs, arguments.roofline)
        return report, logits


def _locate(
    arguments: argparse.Namespace, model: Model, images: NDArray[np.int8], difference: dict[str, Any]
) -> dict[str, Any]:
    """The first tensor that differs for the first image whose logits do; `difference` itself if a rerun is right."""
    from sim import golden

    image = difference["index"][0]
    trace: dict[str, NDArray[Any]] = {}
    golden.run(model, images[image : image + 1], trace)
    with Accelerator.open(arguments.device) as device:
        found = locate(device, model, images[image : image + 1], trace)
    return {**(found or difference), "image": image}


def _target(arguments: argparse.Namespace) -> str:
    """The device, asked to record its engines' states if a trace is wanted."""
    device: str = arguments.device
    if not arguments.trace or not device.startswith("sim:") or "states=" in device:
        return device
    return f"{device}{',' if '?' in device else '?'}states=1"


def _write_trace(device: Accelerator, program: Program, runs: int, path: str) -> None:
    if not isinstance(device.transport, Traced):
        raise UserError("this device cannot say when its instructions ran: --trace wants a simulation (sim:...)")
    states = device.transport.states() if isinstance(device.transport, Stated) else None
    try:
        write_trace(build_trace(program, device.transport.intervals(), states, runs=runs), path)
    except ValueError as error:
        raise UserError(f"--trace wants a run of all images in one start: {error}") from None


def _golden(model: Model, images: NDArray[np.int8]) -> NDArray[np.int32]:
    from sim import golden

    return golden.run(model, images)


def _load_labels(path: str, count: int) -> NDArray[Any]:
    labels = load_array(path, "of labels")
    if labels.ndim != 1 or len(labels) < count:
        raise UserError(f"{path} must hold at least {count} labels, not {list(labels.shape)}")
    return labels[:count]

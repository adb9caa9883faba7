"""Command line: python -m firmware quantize | make-model | inspect | compile | run | profile | dram."""

from __future__ import annotations

import argparse
import sys

from firmware.commands import (
    compile_command,
    dram_command,
    inspect_command,
    make_model_command,
    quantize_command,
    run_command,
)
from firmware.compiler import CompileError
from firmware.errors import UserError
from firmware.make_model import ARCHITECTURES
from firmware.quantize import RANGES
from firmware.transport import DeviceError
from hw.spec.config import ConfigError
from hw.spec.model import ModelError

__all__ = ["main", "parser"]


_DEVICES = "golden, sim:BOARD, serial:PORT[?baud=RATE] or udp:IP[:PORT]"


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    top = argparse.ArgumentParser(prog="python -m firmware", description="integer Vision Transformers on the device")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

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
    for name in ("img-size", "patch", "dim", "window", "classes"):
        made.add_argument(f"--{name}", type=int, help="instead of the architecture's")
    for name in ("depth", "heads"):
        made.add_argument(f"--{name}", type=int, nargs="+", help="instead of the architecture's; one number per stage")
    made.add_argument("--attention-bits", type=int, choices=(8, 16), help="default: 16, of a Swin 8")
    made.add_argument("--calibration", type=int, default=2, metavar="COUNT", help="random calibration images")
    made.add_argument("--images", metavar="FILE", help="also write the calibration images, .npy")
    made.add_argument("--name", help="name stored in the model; default: the architecture's")
    made.add_argument("-o", "--output", required=True)

    inspect = commands.add_parser("inspect", help="print what is in a model file")
    inspect.set_defaults(function=inspect_command)
    inspect.add_argument("model")

    compiler = commands.add_parser("compile", help="model file -> device program")
    compiler.set_defaults(function=compile_command)
    compiler.add_argument("model")
    compiler.add_argument("--board", default="arty_a7")
    compiler.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a Config field")
    compiler.add_argument("--batch", type=int, default=1, help="images interleaved in one program")
    compiler.add_argument("-o", "--output", metavar="DIR", help="write program.bin, model.bin and listing.txt")

    for name, layers, text in (
        ("run", False, "run images on a device or on the golden model"),
        ("profile", True, "the same, with the cycles of every layer"),
    ):
        run = commands.add_parser(name, help=text)
        run.set_defaults(function=run_command, layers=layers)
        run.add_argument("model")
        run.add_argument("--images", required=True, help=".npy, uint8 pixels or int8 [n, C, H, W]")
        run.add_argument("--labels", help=".npy, class numbers; prints the accuracy")
        run.add_argument("--count", type=int, help="use only the first COUNT images")
        run.add_argument(
            "--device", default="sim:arty_a7", help="golden, sim:BOARD, serial:PORT or udp:IP (default sim:arty_a7)"
        )
        run.add_argument("--batch", type=int, default=1, help="images interleaved in one program")
        run.add_argument("--check", action="store_true", help="compare every logit with the golden model")
        run.add_argument("--logits", metavar="FILE", help="write the integer logits, .npy")
        run.add_argument("--report", metavar="FILE", help="write the report, JSON")
        run.add_argument("--trace", metavar="FILE", help="write what every engine did when, for ui.perfetto.dev (JSON)")
        run.add_argument("--roofline", metavar="FILE", help="print the roofline of every layer and plot it (SVG)")

    dram = commands.add_parser("dram", help="start the memory of a board, after its bitstream was loaded")
    dram.set_defaults(function=dram_command)
    dram.add_argument("build", help="directory of the board's build, with csr.json and dram.json")
    dram.add_argument("--device", required=True, help="serial:PORT[?baud=RATE] or udp:IP[:PORT]")
    return top


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; bad input gives one sentence on stderr and status 2."""
    parsed = parser().parse_args(arguments)
    try:
        status: int = parsed.function(parsed)
    except (CompileError, ConfigError, DeviceError, ModelError, UserError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error.filename or 'file'}: {error.strerror}", file=sys.stderr)
        return 2
    return status


if __name__ == "__main__":
    sys.exit(main())

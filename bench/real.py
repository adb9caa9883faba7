"""Trained networks: how near the integers are to the floats, and DINOv2 on the accelerator."""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from bench import networks, page, photographs
from bench.accuracy import Digits, Measured, Photographs, Random, Results, markdown, rows
from bench.dinov2 import Backbone, graph_file
from bench.fidelity import Quantization, compare, float_run, golden_run, quantize
from bench.runs import TARGET, Case, Result, simulate
from firmware.architectures import architecture
from firmware.compiler import compile_model
from firmware.dataset import open_dataset
from firmware.make_model import float_weights, images
from firmware.preprocess import normalise
from firmware.quantizer import RECIPES
from firmware.quantizer.measure import sqnr
from sim.cycles import predict

__all__ = ["CASES", "measure", "register"]

Array = NDArray[Any]

_BUDGETS = {"dinov2": (), "dinov2-1.15": ("--budget", "1.15")}
"""Options of `quantize` beside the images, by case."""

_RANDOM = {
    "deit": ("deit_tiny_patch16_224", "DeiT-T", 16, ()),
    "swin": ("swin_tiny_patch4_window7_224", "Swin-T, 8-bit attention", 8, ()),
    "swin-16": ("swin_tiny_patch4_window7_224", "Swin-T, 16-bit attention", 8, ("--attention-bits", "16")),
}
"""Architecture, what it is, calibration images and options of `quantize`, by case."""

CASES = (*_BUDGETS, "rtl", "digits", *_RANDOM)
_DIGITS = Path(__file__).parent.parent / "examples" / "digits"
_DIGITS_OPTIONS = ("--patch", "2", "--heads", "2", "--mean", "0.5", "--std", "0.5")


class _Dino:
    """DINOv2, with its photographs and checkpoint in `folder`."""

    def __init__(self, folder: Path, seed: int, *, quick: bool) -> None:
        self.folder, self.quick = folder, quick
        self.backbone = Backbone(graph_file())
        weights = self.backbone.checkpoint()
        self.weights = {name: value for name, value in weights.items() if not (quick and _is_late(name))}
        save_file(self.weights, folder / "dinov2.safetensors")
        halves = photographs.halves(photographs.photographs(), seed)
        if quick:
            halves = halves[0][:2], halves[1][:2]
        for name, half in zip(("calibrate", "held"), halves, strict=True):
            photographs.cut(half, folder / name, seed)
        self.counts = [len(half) for half in halves]
        self._made: dict[str, Quantization] = {}

    def quantization(self, case: str) -> Quantization:
        if case not in self._made:
            networks.say(f"{case}: quantizing ...")
            self._made[case] = quantize(
                self.folder / "dinov2.safetensors", self.folder / "calibrate",
                self.folder / f"{case}-integers.safetensors",
                *_BUDGETS[case],
            )  # fmt: skip
        return self._made[case]

    def held(self, case: str) -> tuple[NDArray[np.uint8], list[str]]:
        """Pixels and names of the images held out, as the model of `case` takes them."""
        dataset = open_dataset(str(self.folder / "held"))
        return dataset.read(self.quantization(case).model), dataset.names()

    def measured(self, case: str) -> Measured:
        made = self.quantization(case)
        networks.say(f"{case}: comparing ...")
        found = predict(compile_model(made.model, TARGET.config))
        fidelity = compare(made.model, self.weights, *self.held(case))
        options = " ".join(_BUDGETS[case])
        return Measured(
            case, options, made.recipe, fidelity, int(found.cycles), found.utilisation, made.seconds, made.cpu,
            made.peak,
        )  # fmt: skip

    def rtl(self) -> Result:
        """The first of the images held out."""
        model = self.quantization("dinov2").model
        networks.say("rtl: DINOv2 on the simulated gateware ...")
        case = Case(name="rtl", model="", title="DINOv2 ViT-S/14", depth=2 if self.quick else None)
        return simulate(case, model, self.held("dinov2")[0][:1])[0]

    def photographs(self, case: str) -> Photographs:
        """With our float network against the graph's, which has all blocks."""
        model, pixels = self.quantization(case).model, self.held(case)[0][:1]
        apart = None
        if not self.quick:
            tokens = self.backbone.tokens(normalise(pixels, model.mean, model.std))
            apart = float(np.abs(tokens - float_run(model, self.weights, pixels)[1]).max())
        return Photographs(self.counts[0], self.counts[1], photographs.CUTS, apart)


def _is_late(name: str) -> bool:
    """Of a block behind the second."""
    block = re.match(r"encoder\.layer\.(\d+)\.", name)
    return block is not None and int(block[1]) > 1


def _digits(folder: Path, count: int | None) -> list[Digits]:
    """Every recipe by itself, and the command as it is, whose model runs on the RTL too."""
    weights, labels = load_file(_DIGITS / "float.safetensors"), np.load(_DIGITS / "labels.npy")[:count]
    pixels = np.load(_DIGITS / "images.npy")[:count]
    found = []
    for name in ("", *RECIPES):
        networks.say(f"digits: {name or 'all recipes'} ...")
        chosen = ("--recipe", name) if name else ()
        made = quantize(_DIGITS / "float.safetensors", _DIGITS / "calibration.npy",
                        folder / f"digits-{name}.safetensors", *_DIGITS_OPTIONS, *chosen)  # fmt: skip
        expected, _ = float_run(made.model, weights, pixels)
        real = golden_run(made.model, pixels)
        rtl = None if name else simulate(Case(name="digits", model="", title="digits", batch=4), made.model, pixels)
        found.append(
            Digits(
                made.recipe, not name, len(labels), sqnr(expected, real),
                _accuracy(real, labels), _accuracy(expected, labels),
                None if rtl is None else _accuracy(rtl[1] * made.model.logit_scale, labels),
                None if rtl is None else rtl[0].bit_exact,
            )
        )  # fmt: skip
    return found


def _accuracy(logits: Array, labels: Array) -> float:
    return float((logits.argmax(1) == labels).mean())


def _random(folder: Path, case: str, seed: int, *, quick: bool) -> Random:
    """Calibrated on noise with the spectrum of photographs, compared on more of it."""
    name, text, count, options = _RANDOM[case]
    networks.say(f"{case}: {text} of random weights ...")
    depth = None if not quick else (2, 2, 2, 2) if name.startswith("swin") else 2
    shape = architecture(name, depth=depth)
    weights, files = float_weights(shape, seed), [folder / f"{case}.{kind}" for kind in ("safetensors", "npy")]
    save_file(weights, files[0])
    np.save(files[1], images(shape, count, seed))
    made = quantize(files[0], files[1], folder / f"{case}-integers.safetensors", *options)
    pixels = images(shape, count, seed + 1000)
    expected, real = float_run(made.model, weights, pixels)[0], golden_run(made.model, pixels)
    return Random(case, text, count, made.trials, made.recipe, count, sqnr(expected, real))


def measure(cases: Sequence[str], seed: int = 0, *, quick: bool = False) -> Results:
    """Runs `cases`. Raises UserError where a package is not installed or a quantization fails."""
    results = Results(quick=quick)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dino = _Dino(folder, seed, quick=quick) if {*cases} & {*_BUDGETS, "rtl"} else None
        if dino is not None:
            measured = [dino.measured(case) for case in _BUDGETS if case in cases]
            rtl = dino.rtl() if "rtl" in cases else None
            counts = dino.photographs(measured[0].case if measured else "dinov2")
            results = replace(results, photographs=counts, measured=measured, rtl=rtl)
        digits = _digits(folder, 20 if quick else None) if "digits" in cases else ()
        random = [_random(folder, case, seed, quick=quick) for case in _RANDOM if case in cases]
        return replace(results, digits=digits, random=random)


def register(commands: Any) -> None:
    """Adds the command's grammar to argparse's sub-parsers."""
    text = "trained networks: integers against floats, and DINOv2 on the simulated gateware"
    networks.add_command(commands, "real", text, CASES, _command)


def _command(arguments: argparse.Namespace) -> int:
    """1 if an output differs from the golden model's, or the digits' integers are wrong more often than the floats."""
    results = measure(arguments.only or CASES, arguments.seed, quick=arguments.quick)
    content = {"figures": networks.figures_json(rows(results)), **asdict(results)}
    page.publish(arguments, markdown(results), content)
    return 0 if results.right else 1

"""A float checkpoint quantized by the user's command, and how near its integers are to the float network."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware.__main__ import main
from firmware.devices import Golden
from firmware.errors import UserError
from firmware.families import official_tensors
from firmware.model_file import load_model
from firmware.preprocess import normalise
from firmware.quantizer.measure import cosines, sqnr
from firmware.quantizer.reference import Reference
from hw.spec.model import Model
from hw.spec.operators import OPERATORS, LayerNorm

__all__ = ["Fidelity", "Quantization", "compare", "float_run", "golden_run", "quantize"]

Array = NDArray[Any]
_BATCH = 4  # images of a float run


@dataclass(frozen=True)
class Quantization:
    """What ``python -m firmware quantize`` made, and what that took in a process of its own."""

    model: Model
    recipe: str  # that was kept
    trials: Mapping[str, float]  # by recipe: SQNR of the outputs in dB, on the images that were held back
    seconds: float
    cpu: float  # seconds of processors
    peak: int  # bytes of memory


def quantize(checkpoint: Path, images: Path, output: Path, *options: str) -> Quantization:
    """Runs the command on `checkpoint` and calibration `images`. Raises UserError where it fails."""
    report = output.with_suffix(".json")
    line = ["quantize", str(checkpoint), "--calibrate", str(images), "-o", str(output), "--report", str(report)]
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        status, seconds, cpu, peak = pool.submit(_command, [*line, *options]).result()
    if status:
        raise UserError(f"python -m firmware {' '.join([*line, *options])} ended with status {status}")
    said = json.loads(report.read_text(encoding="utf-8"))
    trials = {trial["recipe"]: trial["logit_sqnr"] for trial in said["trials"]}
    return Quantization(load_model(output), said["recipe"], trials, seconds, cpu, peak)


def _command(arguments: list[str]) -> tuple[int, float, float, int]:
    """Status, seconds, processor seconds and peak memory of a command, what it prints told apart from results."""
    start, cpu = time.perf_counter(), time.process_time()
    try:
        with redirect_stdout(sys.stderr):
            status = main(arguments)
    except SystemExit as error:  # of a command line that is not understood
        status = error.code if isinstance(error.code, int) else 1
    return status, time.perf_counter() - start, time.process_time() - cpu, _peak()


def _peak() -> int:
    """Bytes of memory that this process had at most.

    Linux counts into a program's ru_maxrss what the one that started it had; VmHWM is its own.
    """
    file = Path("/proc/self/status")
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    own = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return 1024 * (own[0] if own else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


@dataclass(frozen=True)
class Fidelity:
    """Outputs of the golden model, in real units, against the float network's, image by image."""

    names: Sequence[str]
    cosines: Sequence[float]
    sqnr: float  # dB, of all outputs together
    patches: (
        float | None
    )  # mean cosine of the patches' tokens behind the last norm, if the network is a ViT of features
    least_patch: float | None  # that of the image where it is least

    @property
    def mean(self) -> float:
        return float(np.mean(self.cosines))

    @property
    def least(self) -> float:
        return float(np.min(self.cosines))

    def worst(self, count: int = 3) -> list[tuple[str, float]]:
        """The images with the least cosines."""
        return [(self.names[i], self.cosines[i]) for i in np.argsort(self.cosines)[:count]]


def golden_run(model: Model, pixels: NDArray[np.uint8]) -> Array:
    """The golden model's outputs [n, classes] in real units."""
    with Golden() as device:
        device.load(model)
        return device.run(pixels) * model.logit_scale.astype(np.float64)


def compare(model: Model, weights: Mapping[str, Array], pixels: NDArray[np.uint8], names: Sequence[str]) -> Fidelity:
    """`model` against the float network `weights` that it was made of, on uint8 `pixels` [n, C, H, W]."""
    outputs, tokens = float_run(model, weights, pixels)
    found = golden_run(model, pixels)
    near = _patches(model, weights, pixels, tokens) if model.features else None
    return Fidelity(
        names=names,
        cosines=[float(cosine) for cosine in cosines(outputs, found)],
        sqnr=sqnr(outputs, found),
        patches=None if near is None else float(near.mean()),
        least_patch=None if near is None else float(near.min()),
    )


def _last_norm(model: Model) -> Any:
    return [node for node in model.nodes if issubclass(OPERATORS[node.op], LayerNorm)][-1]


def _patches(model: Model, weights: Mapping[str, Array], pixels: NDArray[np.uint8], tokens: Array) -> Array:
    """Mean cosine of each image's patches behind the last norm.

    The model file has only the class token's way out of there. So the integers of the residual stream before, of all
    tokens, take the float norm, in which their scale makes no difference.
    """
    norm = _last_norm(model)
    _, named = official_tensors(weights)
    found, device = [], Golden()
    device.load(model)
    for image, expected in zip(pixels, tokens, strict=True):
        stream = device.trace(image[None])[norm.inputs[0]][0].astype(np.float64)
        centred = stream - stream.mean(-1, keepdims=True)
        normal = centred / np.sqrt(np.square(centred).mean(-1, keepdims=True))
        real = normal * named[f"{norm.name}.weight"] + named[f"{norm.name}.bias"]
        found.append(cosines(expected[1:], real[1:]).mean())
    return np.array(found)


def float_run(model: Model, weights: Mapping[str, Array], pixels: NDArray[np.uint8]) -> tuple[Array, Array]:
    """Outputs [n, classes] of the float network `weights`, and its tokens [n, tokens, channels] behind the last norm.

    In float32 and NumPy, node by node along the graph of `model`, whose integers are not used.
    """
    family, named = official_tensors(weights)
    if model.features:
        named = {**named, "head.weight": np.eye(model.classes), "head.bias": np.zeros(model.classes)}
    images, norm = normalise(pixels, model.mean, model.std), _last_norm(model).name
    parts = []
    for first in range(0, len(images), _BATCH):
        reference = Reference(named, images[first : first + _BATCH], family)
        tokens = np.empty(0)
        for node in model.nodes:
            value = reference.step(node, model.tensors)
            if node.name == norm:
                tokens = value
        parts.append((value, tokens))
    outputs, tokens = (np.concatenate(column) for column in zip(*parts, strict=True))
    return outputs.astype(np.float64), tokens

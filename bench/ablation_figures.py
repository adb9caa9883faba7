"""What the ablation finds of a network: outputs and cycles of each mixture, simulated gateware, float32 on the host."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import networks
from bench.ablation_networks import Network, integer_model, recipe, units
from bench.fidelity import float_run, golden_run
from bench.kept import Kept, sources
from bench.machine import machine
from bench.runs import on_gateware
from firmware.caches import digest
from firmware.compiler import compile_model
from firmware.estimate import estimate
from firmware.families import official_tensors
from firmware.preprocess import normalise, to_int8
from firmware.quantizer.measure import cosines, sqnr
from hw.boards.board import Board
from hw.boards.registry import BOARDS

__all__ = ["SHOWN", "Cycles", "Outputs", "Reference", "Simulated", "cycles", "outputs", "references", "simulated"]

Array = NDArray[Any]
SHOWN = ("arty_a7", "arty_a7_100", "genesys2")
"""Boards, the first of which has the units whose areas are shown."""
_LAWS = (
    "bench/ablation_networks.py", "bench/dinov2.py", "bench/photographs.py", "firmware/families", "firmware/graph",
    "firmware/make_model.py", "firmware/preprocess.py", "firmware/quantizer", "hw/spec/arith.py", "hw/spec/operators",
    "hw/spec/rivals.py", "sim/golden.py",
)  # fmt: skip
"""What decides outputs. `sim/fast` gives the same ones."""
_GATEWARE = ("bench/ablation_networks.py", "firmware/compiler.py", "firmware/families", "firmware/graph",
             "firmware/planner", "firmware/quantizer", "hw", "sim")  # fmt: skip
"""What decides cycles."""
_ROUNDS = 5


@dataclass(frozen=True)
class Outputs:
    """Of the golden model against the float network."""

    network: str
    mixture: str
    cosine: float  # mean of all images
    least: float
    sqnr: float  # dB
    accuracy: float | None
    seconds: float  # of this host


@dataclass(frozen=True)
class Cycles:
    """Of one image, by the cycle model."""

    network: str
    mixture: str
    boards: Mapping[str, int]
    vector: float  # share of them in which VECTOR moves data, on the first board
    array: float  # in which MATMUL does


@dataclass(frozen=True)
class Simulated:
    """One image on the simulated gateware of the first board."""

    network: str
    mixture: str
    cycles: int
    predicted: int  # by the cycle model
    bit_exact: bool
    seconds: float  # of this host


@dataclass(frozen=True)
class Reference:
    """The float network on the host, one thread, image by image; `seconds` of one, the best of some rounds."""

    network: str
    tool: str
    seconds: float | None  # None where the tool is not installed
    cosine: float | None  # of outputs to those of NumPy
    accuracy: float | None
    machine: str


def _board(name: str, mixture: str) -> Board:
    """With the units of a mixture and no others."""
    return BOARDS[name].configured(replace(BOARDS[name].config, vector=units(mixture)))


def outputs(network: str, mixture: str, kept: Kept, reading: Callable[[], Network]) -> Outputs:
    """Quantizes and judges one mixture, or finds that it was done."""

    def made() -> dict[str, Any]:
        networks.say(f"{network}, {mixture}: outputs ...")
        start, read = time.perf_counter(), reading()
        model = integer_model(network, mixture, read)
        expected, found = float_run(model, read.weights, read.judge)[0], golden_run(model, read.judge)
        near = cosines(expected, found)
        return asdict(Outputs(
            network=network, mixture=mixture, cosine=float(near.mean()), least=float(near.min()),
            sqnr=float(sqnr(expected, found)), accuracy=_accuracy(found, read), seconds=time.perf_counter() - start,
        ))  # fmt: skip

    return Outputs(
        **kept.figure("outputs", f"{network} {mixture}", digest(sources(*_LAWS), str(recipe(mixture))), made)
    )


def _accuracy(found: Array, read: Network) -> float | None:
    return None if read.labels is None else float((found.argmax(1) == read.labels).mean())


def cycles(network: str, mixture: str, kept: Kept, reading: Callable[[], Network]) -> Cycles:
    """Compiles one mixture for every board and predicts its cycles, which its integers do not change."""

    def made() -> dict[str, Any]:
        networks.say(f"{network}, {mixture}: cycles ...")
        model = integer_model(network, mixture, reading(), quick=True)
        boards = [_board(name, mixture) for name in SHOWN]
        found = [estimate(compile_model(model, board), board) for board in boards]
        busy = found[0].busy
        counts = {name: one.cycles for name, one in zip(SHOWN, found, strict=True)}
        return asdict(Cycles(network, mixture, counts, busy["VECTOR"], busy["MATMUL"]))

    return Cycles(**kept.figure("cycles", f"{network} {mixture}", _gateware(mixture), made))


def _gateware(mixture: str) -> str:
    boards = [_board(name, mixture) for name in SHOWN]
    return digest(sources(*_GATEWARE), *(f"{board.config} {board.clock_hz} {board.core_memory}" for board in boards))


def simulated(network: str, mixture: str, kept: Kept, reading: Callable[[], Network]) -> Simulated:
    """Runs one mixture on the gateware, compares every output with the golden model's, or finds that it was done."""

    def made() -> dict[str, Any]:
        networks.say(f"{network}, {mixture}: on the simulated gateware ...")
        start, read, board = time.perf_counter(), reading(), _board(SHOWN[0], mixture)
        model = integer_model(network, mixture, read, quick=True)
        pixels, program = to_int8(read.judge[:1], model), compile_model(model, board)
        count, same = on_gateware(program, pixels, f"sim:{SHOWN[0]}", board.config)
        predicted = estimate(program, board).cycles
        return asdict(Simulated(network, mixture, count, predicted, same, time.perf_counter() - start))

    return Simulated(**kept.figure("simulated", f"{network} {mixture}", _gateware(mixture), made))


def references(network: str, kept: Kept, reading: Callable[[], Network]) -> list[Reference]:
    """The float network by NumPy, which all outputs are compared with, and by timm's PyTorch modules."""
    found = []
    for tool, make in (("NumPy", _numpy), ("PyTorch", _pytorch)):
        name = _versions(tool)
        made_from = digest(sources("bench/ablation_networks.py", "firmware/quantizer/reference.py"), name)

        def made(tool: str = name, make: Callable[[Network], _Runner | None] = make) -> dict[str, Any]:
            networks.say(f"{network}, float32 by {tool} ...")
            return asdict(_reference(network, tool, make(reading()), reading()))

        found.append(Reference(**kept.figure("float", f"{network} {tool}", made_from, made)))
    return found


_Runner = Callable[[NDArray[np.uint8]], Array]


def _versions(tool: str) -> str:
    packages = {"NumPy": ("numpy",), "PyTorch": ("torch", "timm")}[tool]
    try:
        return f"{tool} {version(packages[0])}" + "".join(f", {name} {version(name)}" for name in packages[1:])
    except PackageNotFoundError as error:
        return f"{tool}, without {error.name}"


def _reference(network: str, tool: str, runner: _Runner | None, read: Network) -> Reference:
    if runner is None:
        return Reference(network, tool, None, None, None, machine())
    best = float("inf")
    for turn in range(_ROUNDS + 1):
        start = time.perf_counter()
        runner(read.judge[:1])
        best = min(best, time.perf_counter() - start) if turn else best  # the first one warms up
    found = runner(read.judge)
    near = cosines(_numpy(read)(read.judge), found).mean()
    return Reference(network, tool, best, float(near), _accuracy(found, read), machine())


@cache
def _graph(network: Network) -> Any:
    """Along which NumPy computes."""
    return integer_model("float32", "I-ViT", network, quick=True)


def _numpy(network: Network) -> _Runner:
    model = _graph(network)
    return lambda pixels: float_run(model, network.weights, pixels)[0]


def _pytorch(network: Network) -> _Runner | None:
    """timm's module with the network's weights; None where it or PyTorch is not installed."""
    try:
        import timm
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    module = timm.create_model(network.timm, **network.sizes).eval()
    family, named = official_tensors(network.weights)
    named = family.fitted(named, network.judge.shape[1:])
    state = {name: torch.tensor(np.asarray(value)) for name, value in named.items()}
    module.load_state_dict(sys.modules[type(module).__module__].checkpoint_filter_fn(state, module))  # to timm's names

    def run(pixels: NDArray[np.uint8]) -> Array:
        images = torch.tensor(normalise(pixels, network.mean, network.std), dtype=torch.float32)
        with torch.inference_mode():
            parts = [module(images[first : first + 8]) for first in range(0, len(images), 8)]
        return torch.cat(parts).numpy().astype(np.float64)

    return run

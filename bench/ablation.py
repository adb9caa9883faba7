"""I-ViT's operators and their rivals: what each takes of the silicon, and what it does to networks, one at a time."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from bench import networks, page, photographs
from bench.ablation_units import OPERATORS, Operator, UnitFigures, passes, unit_figures
from bench.dinov2 import Backbone, graph_file
from bench.fidelity import float_run, golden_run
from firmware.architectures import architecture
from firmware.compiler import compile_model
from firmware.dataset import open_dataset
from firmware.families import official_tensors
from firmware.files import write, writing
from firmware.identify import identify
from firmware.make_model import float_weights, images
from firmware.plots import COLOURS, figure, plot_kind, save_figure
from firmware.preprocess import normalise
from firmware.quantizer import RECIPES, quantize
from firmware.quantizer.measure import cosines, sqnr
from hw.boards.registry import BOARDS
from hw.spec.isa import Engine
from sim.cycles import predict

__all__ = ["MIXTURES", "Network", "Outcome", "register"]

Array = NDArray[Any]
_BOARD = BOARDS["arty_a7"].override({"clock": "100"})  # as its memory
_RECIPE = RECIPES["minmax"]
_DIGITS = Path(__file__).parent.parent / "examples" / "digits"

_BERT = {"softmax": "int_softmax", "gelu": "int_gelu", "norm": "int_layer_norm"}
_EXACT = {"gelu": "table"}
MIXTURES: dict[str, dict[str, str]] = {
    "I-ViT": {"gelu": "shift"},
    "GELU by a table": _EXACT,
    "IntGELU (I-BERT)": {"gelu": "int_gelu"},
    "IntSoftmax (I-BERT), table": {**_EXACT, "softmax": "int_softmax"},
    "Log-Int-Softmax (FQ-ViT), table": {**_EXACT, "softmax": "log_int_softmax"},
    "IntLayerNorm (I-BERT), table": {**_EXACT, "norm": "int_layer_norm"},
    "L1 LayerNorm (Fully-8bit), table": {**_EXACT, "norm": "l1_layer_norm"},
    "all of I-BERT": _BERT,
    "I-BERT's, L1 LayerNorm": {**_BERT, "norm": "l1_layer_norm"},
}
"""What a network has in place of some of I-ViT's operators, as a recipe says it.

Softmax and norms are replaced beside an exact GELU, whose errors do not hide theirs.
"""


_OWN = {"softmax": "shiftmax", "gelu": "shift", "norm": "layer_norm"}  # where a mixture does not say


@dataclass(frozen=True)
class Network:
    """A float network with images that calibrate it and others that judge it."""

    title: str
    weights: Mapping[str, Array]
    calibrate: NDArray[np.uint8]
    judge: NDArray[np.uint8]
    mean: Sequence[float]
    std: Sequence[float]
    options: Mapping[str, Any]
    labels: Array | None = None


@dataclass(frozen=True)
class Outcome:
    """A mixture in a network: cycles of one image by the cycle model, and outputs of the golden model against float."""

    network: str
    mixture: str
    cycles: int
    vector: float  # share of them in which VECTOR moves data
    array: float  # in which the array does
    cosine: float  # of outputs, mean of all images
    least: float
    sqnr: float  # dB
    accuracy: float | None
    seconds: float  # of this host


def _digits(_folder: Path) -> Network:
    pixels, labels = np.load(_DIGITS / "images.npy"), np.load(_DIGITS / "labels.npy")
    return Network(
        "digits ViT, trained", load_file(_DIGITS / "float.safetensors"), np.load(_DIGITS / "calibration.npy"), pixels,
        (0.5,), (0.5,), {"patch": 2, "heads": 2}, labels,
    )  # fmt: skip


def _dinov2(folder: Path) -> Network:
    weights = Backbone(graph_file()).checkpoint()
    shape = identify(official_tensors(weights)[1])
    mean, std = shape.statistics
    found = []
    for name, half in zip(("calibrate", "held"), photographs.halves(photographs.photographs(), 0), strict=True):
        if not (folder / name).is_dir():
            photographs.cut(half, folder / name, 0)
        found.append(open_dataset(str(folder / name)).read(shape)[:: photographs.CUTS])
    options = {"patch": shape.patch, "heads": shape.heads[0]}
    return Network("DINOv2 ViT-S/14, trained", weights, found[0], found[1], mean, std, options)


def _random(name: str, title: str, count: int) -> Callable[[Path], Network]:
    def make(_folder: Path) -> Network:
        shape = architecture(name)
        mean, std = shape.statistics
        heads = {"heads": shape.heads[0]} if shape.heads else {}
        return Network(
            title, float_weights(shape, 0), images(shape, count, 0), images(shape, count, 1000), mean, std,
            {"patch": shape.patch, **heads},
        )  # fmt: skip

    return make


NETWORKS: dict[str, Callable[[Path], Network]] = {
    "digits": _digits,
    "dinov2": _dinov2,
    "deit": _random("deit_tiny_patch16_224", "DeiT-T, random weights", 8),
    "swin": _random("swin_tiny_patch4_window7_224", "Swin-T, random weights", 4),
}
"""By case; a folder keeps what they read."""


def measure(network: str, mixture: str, read: Network) -> Outcome:
    """Quantizes, judges and compiles one mixture."""
    start, recipe = time.perf_counter(), replace(_RECIPE, **MIXTURES[mixture])
    model = quantize(
        read.weights, normalise(read.calibrate, read.mean, read.std), name=network, mean=read.mean, std=read.std,
        recipe=recipe, **read.options,
    )  # fmt: skip
    expected, found = float_run(model, read.weights, read.judge)[0], golden_run(model, read.judge)
    config = replace(_BOARD.config, vector=_units(mixture))
    prediction = predict(compile_model(model, config))
    near = cosines(expected, found)
    return Outcome(
        network=network, mixture=mixture, cycles=int(prediction.cycles),
        vector=prediction.busy[Engine.VECTOR] / prediction.cycles, array=prediction.occupancy,
        cosine=float(near.mean()), least=float(near.min()), sqnr=float(sqnr(expected, found)),
        accuracy=None if read.labels is None else float((found.argmax(1) == read.labels).mean()),
        seconds=time.perf_counter() - start,
    )  # fmt: skip


def _laws(mixture: str) -> dict[str, str]:
    """By kind, what a recipe calls the operator that the mixture has."""
    return {**_OWN, **MIXTURES[mixture]}


def _operators(mixture: str) -> list[Operator]:
    """Of softmax, GELU and norm the one that the mixture has."""
    return [
        next(each for each in OPERATORS if each.kind == kind and each.recipe.get(kind, _OWN[kind]) == law)
        for kind, law in _laws(mixture).items()
    ]


def _units(mixture: str) -> tuple[str, ...]:
    """Of Config.vector."""
    laws = _laws(mixture)
    gelu = {"shift": "shift_gelu"}.get(laws["gelu"], laws["gelu"])
    return (laws["softmax"], laws["norm"], gelu, "add")


# What is found, kept figure by figure


def _kept(file: Path, make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """What `file` holds, or what is made and put there."""
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        write(file, json.dumps(make(), indent=1) + "\n")
    return dict(json.loads(file.read_text(encoding="utf-8")))


def _unit_results(folder: Path) -> list[UnitFigures]:
    found = []
    for row in dict.fromkeys(row for operator in OPERATORS for row in passes(operator)):
        networks.say(f"{row.name}: synthesis ...")
        found.append(unit_figures(row, _BOARD.config, folder / "units"))
    return found


def _outcomes(folder: Path, cases: Sequence[str], *, kept: bool = False) -> list[Outcome]:
    """Of every mixture in the networks `cases`, or those that are `kept`; a network is read when it is wanted first."""
    found = []
    for network in cases:
        reading = cache(partial(NETWORKS[network], folder))

        def made(mixture: str, network: str = network, reading: Callable[[], Network] = reading) -> dict[str, Any]:
            networks.say(f"{network}, {mixture} ...")
            return asdict(measure(network, mixture, reading()))

        for mixture in MIXTURES:
            file = folder / f"{network} {mixture}.json".replace(" ", "-")
            if file.is_file() or not kept:
                found.append(Outcome(**_kept(file, partial(made, mixture))))
    return found


# Tables and plot


def _area(mixture: str, units: Mapping[str, UnitFigures], family: str, resource: str) -> float:
    names = dict.fromkeys(name for operator in _operators(mixture) for name in operator.opcodes)
    return sum(units[name].used[family][resource] for name in names)


def _unit_table(units: Sequence[UnitFigures]) -> str:
    head = ("unit", "elements per cycle", "latency", "row interval", "LUT", "FF", "DSP48E1", "BRAM36", "LUT4", "FF",
            "MULT18X18D", "EBR")  # fmt: skip
    body = [
        (
            f"`{unit.opcode}`", f"{unit.elements}", f"{unit.latency}", f"{unit.interval}",
            *(f"{unit.used['series7'][name]:g}" for name in ("lut", "ff", "dsp", "bram36")),
            *(f"{unit.used['ecp5'][name]:g}" for name in ("lut", "ff", "dsp", "ebr")),
        )
        for unit in units
    ]  # fmt: skip
    return page.table(head, body)


_RESOURCES = (("series7", "lut"), ("series7", "ff"), ("series7", "dsp"), ("ecp5", "lut"), ("ecp5", "dsp"))


def _operator_table(units: Mapping[str, UnitFigures]) -> str:
    head = ("operator", "of", "passes", "cycles per element", "LUT", "FF", "DSP48E1", "LUT4 (ECP5)", "MULT18X18D")
    body = []
    for operator in OPERATORS:
        own = [units[name] for name in operator.opcodes]
        cycles = sum(1 / unit.elements for unit in own)
        totals = (sum(unit.used[family][name] for unit in own) for family, name in _RESOURCES)
        body.append((operator.name, operator.of, str(len(own)), f"{cycles:g}", *(f"{total:g}" for total in totals)))
    return page.table(head, body)


def _network_table(outcomes: Sequence[Outcome], units: Mapping[str, UnitFigures]) -> str:
    accurate = any(outcome.accuracy is not None for outcome in outcomes)
    head = ("operators", "cycles per image", "to I-ViT", "images/s at 100 MHz", "VECTOR moves data", "cosine, mean",
            "least", "SQNR", *(("accuracy",) if accurate else ()), "LUT of the units")  # fmt: skip
    first = outcomes[0].cycles
    body = [
        (
            each.mixture, f"{each.cycles:,}", f"{each.cycles / first - 1:+.1%}", f"{_BOARD.clock_hz / each.cycles:.2f}",
            f"{each.vector:.0%}", f"{each.cosine:.4f}", f"{each.least:.4f}", f"{each.sqnr:.1f} dB",
            *((f"{each.accuracy:.2%}",) if each.accuracy is not None else ()),
            f"{_area(each.mixture, units, 'series7', 'lut'):g}",
        )
        for each in outcomes
    ]  # fmt: skip
    return page.table(head, body)


def _markdown(units: Sequence[UnitFigures], outcomes: Sequence[Outcome], titles: Mapping[str, str]) -> str:
    by_name = {unit.opcode: unit for unit in units}
    parts = [_operator_table(by_name), _unit_table(units)]
    for network in dict.fromkeys(outcome.network for outcome in outcomes):
        mine = [outcome for outcome in outcomes if outcome.network == network]
        parts.append(f"**{titles[network]}**\n\n{_network_table(mine, by_name)}")
    return "\n\n".join(parts)


def _plot(units: Mapping[str, UnitFigures], outcomes: Sequence[Outcome]) -> Any:
    """1 - cosine of the outputs against the LUTs of the units, and against cycles; a mark for each mixture."""
    names = list(dict.fromkeys(outcome.network for outcome in outcomes))

    def paint(made: Any) -> None:
        panels = made.subplots(len(names), 2, squeeze=False)
        for network, (area, cycles) in zip(names, panels, strict=True):
            mine = [outcome for outcome in outcomes if outcome.network == network]
            for number, each in enumerate(mine):
                loss, colour = 1 - each.cosine, COLOURS[number % len(COLOURS)]
                for axes, x in ((area, _area(each.mixture, units, "series7", "lut")), (cycles, each.cycles / 1e6)):
                    axes.plot([x], [loss], "os^Dv*"[number // len(COLOURS)], color=colour, label=each.mixture)
            area.set_title(f"{network}: loss against area")
            area.set_xlabel("LUTs of softmax, GELU and norm, 7-series, synthesised")
            cycles.set_title(f"{network}: loss against cycles")
            cycles.set_xlabel("million cycles per image, predicted")
            for axes in (area, cycles):
                axes.set_yscale("log")
                axes.grid()
            area.set_ylabel("1 - cosine of the outputs")
        panels[0][1].legend(fontsize=7)

    return figure(10, 3 * len(names), paint)


_TITLES = {
    "digits": "Digits ViT, trained, 360 test images; outputs are logits",
    "dinov2": "DINOv2 ViT-S/14, trained, a cut of each of 11 photographs held out; outputs are features",
    "deit": "DeiT-T, random weights, noise like photographs",
    "swin": "Swin-T, random weights, noise like photographs",
}


def register(commands: Any) -> None:
    """Adds the command's grammar to argparse's sub-parsers."""
    command = page.add_command(commands, "ablation", "I-ViT's operators and rivals: area, cycles, accuracy", _command)
    command.add_argument(
        "--only", nargs="+", choices=tuple(NETWORKS), metavar="CASE", help=f"some of {', '.join(NETWORKS)}"
    )
    command.add_argument(
        "--folder", default="build/ablation", help="keeps every finished figure, so that the command goes on where it "
        "stopped; to be deleted when the sources change (default build/ablation)",
    )  # fmt: skip
    command.add_argument("--kept", action="store_true", help="only networks' figures that the folder has")
    command.add_argument("--plot", metavar="FILE", help="draw losses against area and cycles, .svg or .png")


def _command(arguments: argparse.Namespace) -> int:
    drawn = plot_kind(arguments.plot, "--plot") if arguments.plot else ""
    folder = Path(arguments.folder)
    units = _unit_results(folder)
    outcomes = _outcomes(folder, arguments.only or list(NETWORKS), kept=arguments.kept)
    by_name = {unit.opcode: unit for unit in units}
    content = {"units": [asdict(unit) for unit in units], "outcomes": [asdict(each) for each in outcomes]}
    if arguments.plot:
        with writing(arguments.plot) as file:
            save_figure(_plot(by_name, outcomes), drawn, file)
    page.publish(arguments, _markdown(units, outcomes, _TITLES), content)
    return 0

"""One simulated run per case, checked bit for bit; figures and the bars that they must pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from firmware.architectures import Architecture, architecture
from firmware.device import Accelerator
from firmware.make_model import images, make_model
from firmware.planner.program import Program
from firmware.preprocess import to_int8
from firmware.profile import Profile
from firmware.progress import running, step
from hw.boards.registry import BOARDS
from hw.spec.config import Config
from hw.spec.model import Model
from sim import golden
from sim.cycles import Prediction, predict

__all__ = [
    "BOARD", "CLOCK", "DEVICE", "DSPS", "TARGET",
    "Case", "Result", "Row", "model_of", "on_gateware", "run_case", "simulate", "utilisation",
]  # fmt: skip

# With its memory's clock for all of it: cycles then say what the gateware does, whatever clock a part reaches, and
# compare with those from before. `bench scale` has the boards at their own
TARGET = BOARDS["arty_a7"].override({"clock": f"{BOARDS['arty_a7'].system_hz / 1e6:g}"})
BOARD = TARGET.name
DSPS = 90  # DSP48E1 of the board's XC7A35T
CLOCK = TARGET.clock_hz
DEVICE = f"sim:{BOARD}?clock={CLOCK / 1e6:g}"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One simulated run."""

    name: str
    model: str
    attention_bits: int = 16
    batch: int = 1
    options: str = ""  # of the simulator
    depth: int | tuple[int, ...] | None = None  # blocks, or blocks of each stage, if not all
    title: str = ""  # of the network, where its name does not say it

    def quick(self) -> Case:
        """The same with two blocks, or two in each stage."""
        return replace(self, depth=(2, 2, 2, 2) if self.model.startswith("swin") else 2)

    @property
    def text(self) -> str:
        """What is measured, in words."""
        family, size, *_ = f"{self.model}_".split("_")
        name = self.title or f"{family.replace('deit', 'DeiT').replace('swin', 'Swin')}-{size[:1].upper()}"
        parts = [name, f"{self.attention_bits}-bit attention"]
        if self.batch > 1:
            parts.append(f"batch of {self.batch}")
        if self.depth:
            blocks = self.depth if isinstance(self.depth, int) else sum(self.depth)
            parts.append(f"{blocks} blocks only")
        if self.options:
            parts.append(self.options)
        return ", ".join(parts)


@dataclass(frozen=True)
class Result:
    """What one run gave. `predicted` is the cycle model's answer; it has none for other memories than the default."""

    case: Case
    bit_exact: bool
    cycles: int
    utilisation: float
    occupancy: float
    macs_per_cycle: int
    wall: float  # seconds of simulation
    cpu: float
    engines: dict[str, dict[str, float]]
    predicted: int | None
    layer_errors: dict[str, float]  # predicted / simulated - 1 of layers with MACs

    @property
    def frames(self) -> float:
        """Images per second at CLOCK."""
        return self.case.batch * CLOCK / self.cycles


def model_of(case: Case, seed: int) -> tuple[Architecture, Model]:
    """Its architecture and its integer model of random weights."""
    shape = architecture(case.model, depth=case.depth)
    return shape, make_model(shape, seed=seed, attention_bits=case.attention_bits)


def run_case(case: Case, seed: int = 0) -> Result:
    """Simulates `case` on images that it was not calibrated on."""
    with step(f"{case.name}: making the model"):
        shape, model = model_of(case, seed)
    return simulate(case, model, images(shape, case.batch, seed + 1000))[0]


def simulate(case: Case, model: Model, pixels: NDArray[np.uint8]) -> tuple[Result, NDArray[np.int32]]:
    """Runs `model` on uint8 `pixels`, compares every logit with the golden model, and returns the logits, too."""
    with step(f"{case.name}: computing what is expected"):
        pixels = to_int8(pixels, model)
        expected = golden.run(model, pixels)
    with Accelerator.open(f"{DEVICE}{',' * bool(case.options)}{case.options}") as device:
        program = device.load(model, batch=case.batch)
        wall, cpu = time.perf_counter(), time.process_time()
        with running(program.estimated_cycles, what=case.name) as advance:
            logits = device.run(pixels, progress=advance)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        profile = device.profile()
    prediction = None if case.options else predict(program)  # it knows the default memory only
    result = Result(
        case=case,
        bit_exact=bool(np.array_equal(expected, logits)),
        cycles=profile.cycles,
        utilisation=profile.utilisation,
        occupancy=profile.occupancy,
        macs_per_cycle=profile.macs_per_cycle,
        wall=wall,
        cpu=cpu,
        engines={
            e.name: {"busy": e.busy / profile.cycles, "wait_in": e.wait_in / profile.cycles} for e in profile.engines
        },
        predicted=None if prediction is None else int(prediction.cycles),
        layer_errors=_layer_errors(prediction, profile) if prediction else {},
    )
    return result, logits


def on_gateware(
    program: Program, pixels: NDArray[np.int8], device: str, config: Config | None = None
) -> tuple[int, bool]:
    """Cycles of a run of int8 `pixels` on a simulated `device`, and whether every output is the golden model's."""
    with Accelerator.open(device, config) as simulated:
        simulated.load(program)
        with running(program.estimated_cycles, what=f"{program.model.name} on {device}") as advance:
            found = simulated.run(pixels, progress=advance)
        return simulated.profile().cycles, bool(np.array_equal(found, golden.run(program.model, pixels)))


def _layer_errors(prediction: Prediction, profile: Profile) -> dict[str, float]:
    """Relative error per layer with MACs."""
    predicted = {layer.name: layer.cycles for layer in prediction.layers}
    return {
        layer.name: predicted[layer.name] / layer.cycles - 1
        for layer in profile.layers
        if layer.macs and layer.cycles and layer.name in predicted
    }


@dataclass(frozen=True)
class Row:
    """A figure with the bar it must pass and the stretch beyond."""

    figure: str
    value: float | None
    bar: float
    stretch: float | None  # None where nothing beyond the bar is asked for
    text: Callable[[float], str]
    more_is_better: bool = True
    whole: bool = True  # measured on the whole network, which the bars are for

    @property
    def verdict(self) -> str:
        """How far the value gets."""
        if self.value is None:
            return "not run"
        if not self.whole:
            return "quick run"
        sign = 1 if self.more_is_better else -1
        if self.stretch is not None and sign * self.value >= sign * self.stretch:
            return "stretch"
        return "pass" if sign * self.value >= sign * self.bar else "FAIL"


def utilisation(text: str, name: str, results: Sequence[Result], bar: float, stretch: float) -> Row:
    """The row of a case's utilisation."""
    value = next((result.utilisation for result in results if result.case.name == name), None)
    whole = not any(result.case.depth for result in results)
    return Row(text, value, bar, stretch, lambda value: f"{value:.4f}", whole=whole)

"""DeiT on the default accelerator: one simulated run per case, checked bit for bit, and the figures it must reach."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from firmware.architectures import Architecture, architecture
from firmware.device import Accelerator
from firmware.make_model import images, make_model
from firmware.preprocess import to_int8
from firmware.profile import Profile
from sim import golden
from sim.cycles import Prediction, predict

__all__ = ["BOARD", "CASES", "DSPS", "Case", "Result", "Row", "rows", "run_case"]

BOARD = "arty_a7"
DSPS = 90  # DSP48E1 of the board's XC7A35T
CLOCK = 100e6  # Hz: the clock the board's build aims at, for frames per second


@dataclass(frozen=True, kw_only=True)
class Case:
    """One simulated run."""

    name: str
    model: str
    attention_bits: int = 16
    batch: int = 1
    options: str = ""  # of the simulator
    depth: int | None = None  # blocks, if not all

    def quick(self) -> Case:
        """The same with two blocks."""
        return replace(self, depth=2)

    @property
    def text(self) -> str:
        """What is measured, in words."""
        parts = [f"DeiT-{self.model.split('_')[1][0].upper()}", f"{self.attention_bits}-bit attention"]
        if self.batch > 1:
            parts.append(f"batch of {self.batch}")
        if self.depth:
            parts.append(f"{self.depth} blocks only")
        if self.options:
            parts.append(self.options)
        return ", ".join(parts)


CASES = {
    case.name: case
    for case in (
        Case(name="tiny", model="deit_tiny_patch16_224"),
        Case(name="tiny-8", model="deit_tiny_patch16_224", attention_bits=8),
        Case(name="tiny-batch", model="deit_tiny_patch16_224", batch=4),
        Case(name="small", model="deit_small_patch16_224"),
        Case(name="tiny-random", model="deit_tiny_patch16_224", options="random=1"),
        Case(name="tiny-8-random", model="deit_tiny_patch16_224", attention_bits=8, options="random=2"),
    )
}


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


def run_case(case: Case, seed: int = 0) -> Result:
    """Simulates `case` and compares every logit with the golden model."""
    shape: Architecture = architecture(case.model, depth=case.depth)
    model = make_model(shape, seed=seed, attention_bits=case.attention_bits)
    pixels = to_int8(images(shape, case.batch, seed + 1000), model)  # not those of the calibration
    expected = golden.run(model, pixels)
    with Accelerator.open(f"sim:{BOARD}{'?' * bool(case.options)}{case.options}") as device:
        program = device.load(model, batch=case.batch)
        wall, cpu = time.perf_counter(), time.process_time()
        logits = device.run(pixels)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        profile = device.profile()
    prediction = None if case.options else predict(program)  # it knows the default memory only
    return Result(
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
    stretch: float
    text: Callable[[float], str]
    more_is_better: bool = True
    whole: bool = True  # measured on the whole network, which the bars are for

    @property
    def verdict(self) -> str:
        """How far the value gets."""
        if self.value is None:
            return "not measured"
        if not self.whole:
            return "quick run"
        sign = 1 if self.more_is_better else -1
        if sign * self.value >= sign * self.stretch:
            return "stretch"
        return "pass" if sign * self.value >= sign * self.bar else "FAIL"


def rows(results: Sequence[Result]) -> list[Row]:
    """The table: every figure asked for, measured or not."""
    found = {result.case.name: result for result in results}
    whole = not any(result.case.depth for result in results)

    def figure(text: str, name: str, bar: float, stretch: float) -> Row:
        result = found.get(name)
        value = result.utilisation if result else None
        return Row(text, value, bar, stretch, lambda value: f"{value:.4f}", whole=whole)

    tiny = found.get("tiny")
    peak = results[0].macs_per_cycle / DSPS if results else None
    errors = [abs(r.predicted / r.cycles - 1) for r in results if r.predicted is not None]
    layer_errors = [abs(e) for r in results for e in r.layer_errors.values()]
    return [
        figure("utilisation, DeiT-T, 16-bit attention", "tiny", 0.90, 0.92),
        figure("utilisation, DeiT-T, 8-bit attention", "tiny-8", 0.96, 0.985),
        figure("utilisation, DeiT-T, 16-bit attention, batch of 4", "tiny-batch", 0.91, 0.924),
        figure("utilisation, DeiT-S, 16-bit attention", "small", 0.94, 0.955),
        Row("array MACs per cycle / DSPs of the part", peak, 1.42, 1.7, lambda value: f"{value:.2f}"),
        Row("cycle model against RTL, total, worst case", max(errors, default=None), 0.02, 0.005,
            lambda value: f"{value:.2%}", more_is_better=False),
        Row("cycle model against RTL, layers, worst case", max(layer_errors, default=None), 0.02, 0.005,
            lambda value: f"{value:.2%}", more_is_better=False),
        Row("seconds to simulate one DeiT-T image", tiny.wall if tiny else None, 120, 30,
            lambda value: f"{value:.0f} s", more_is_better=False, whole=whole),
    ]  # fmt: skip

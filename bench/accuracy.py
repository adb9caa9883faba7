"""What was found of trained networks: the figures that it must reach, and tables."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bench import networks, page
from bench.fidelity import Fidelity
from bench.runs import Result, Row, utilisation

__all__ = ["Digits", "Measured", "Photographs", "Random", "Results", "markdown", "rows"]

_GIB = 1 << 30


@dataclass(frozen=True)
class Measured:
    """DINOv2, quantized and compared on photographs that the quantizer has not seen."""

    case: str
    options: str
    recipe: str
    fidelity: Fidelity
    cycles: int  # by the cycle model
    utilisation: float  # by the cycle model
    seconds: float
    cpu: float
    peak: int


@dataclass(frozen=True)
class Digits:
    """The digits by one recipe on the test images. Accuracies are shares; that of the RTL only of the recipe kept."""

    recipe: str
    kept: bool
    images: int
    sqnr: float
    accuracy: float
    float_accuracy: float
    rtl: float | None
    bit_exact: bool | None


@dataclass(frozen=True)
class Random:
    """Random weights: SQNR in dB by recipe on the images held back, and of the recipe kept on others."""

    case: str
    text: str
    calibrated: int
    trials: Mapping[str, float]
    recipe: str
    images: int
    sqnr: float


@dataclass(frozen=True)
class Photographs:
    """How many, and how many cuts of them."""

    calibrate: int
    held: int
    cuts: int  # of each
    onnx: float | None  # largest difference of a token from onnx's own evaluation of the graph, on one held-out cut


@dataclass(frozen=True)
class Results:
    """Everything that was asked for. A `quick` run has two blocks, which no bar is for."""

    photographs: Photographs | None = None
    measured: Sequence[Measured] = ()
    rtl: Result | None = None
    digits: Sequence[Digits] = ()
    random: Sequence[Random] = ()
    quick: bool = False

    @property
    def right(self) -> bool:
        """Whether the RTL gave the golden model's outputs, and the integers are as often right as the floats."""
        exact = all(digits.bit_exact is not False for digits in self.digits) and (not self.rtl or self.rtl.bit_exact)
        return exact and all(d.accuracy >= d.float_accuracy for d in self.digits if d.kept)


def rows(results: Results) -> list[Row]:
    """The table: every figure asked for, measured or not."""
    found = {measured.case: measured for measured in results.measured}
    plain, spent = found.get("dinov2"), found.get("dinov2-1.15")
    whole = not results.quick
    more = next((round(d.images * (d.accuracy - d.float_accuracy)) for d in results.digits if d.kept), None)

    def cosine(text: str, value: float | None, bar: float, stretch: float) -> Row:
        return Row(f"DINOv2 ViT-S/14, {text}", value, bar, stretch, lambda value: f"{value:.4f}", whole=whole)

    peak = max((measured.peak for measured in results.measured), default=None)
    return [
        cosine("8 bits: cosine of the class token, mean", plain and plain.fidelity.mean, 0.997, 0.998),
        cosine("8 bits: cosine of the class token, least", plain and plain.fidelity.least, 0.993, 0.997),
        cosine("8 bits: cosine of the patches' tokens, mean", plain and plain.fidelity.patches, 0.996, 0.998),
        cosine("--budget 1.15: cosine of the class token, mean", spent and spent.fidelity.mean, 0.998, 0.999),
        cosine("--budget 1.15: cosine of the class token, least", spent and spent.fidelity.least, 0.996, 0.998),
        replace(utilisation("DINOv2 ViT-S/14, utilisation, simulated RTL", "rtl",
                            [results.rtl] if results.rtl else [], 0.93, 0.94), whole=whole),
        Row("DINOv2 ViT-S/14, memory while it is quantized", peak, 6 * _GIB, None,
            lambda value: f"{value / _GIB:.1f} GiB", more_is_better=False, whole=whole),
        Row("digits, test images classified rightly, integers less floats", more, 0, None,
            lambda value: f"{value:+.0f}", whole=whole),
    ]  # fmt: skip


def markdown(results: Results) -> str:
    """Bars, then a table for each kind of network that was measured."""
    parts = [networks.figures(rows(results))]
    if results.photographs:
        parts += [_photographs(results.photographs), _measured(results.measured)]
    if results.rtl:
        parts.append(networks.runs([results.rtl]))
    if results.digits:
        parts.append(_digits_table(results.digits))
    if results.random:
        parts.append(_random_table(results.random))
    return "\n\n".join(part for part in parts if part)


def _photographs(counts: Photographs) -> str:
    text = (
        f"{counts.calibrate} photographs calibrate ({counts.calibrate * counts.cuts} cuts), {counts.held} others are "
        f"held out ({counts.held * counts.cuts} cuts). Quantized on {os.cpu_count()} processors, load average "
        f"{os.getloadavg()[0]:.1f}, the benchmark's own included."
    )
    if counts.onnx is None:
        return text
    return f"{text} Float tokens differ from those that onnx computes of the graph by at most {counts.onnx:.1e}."


def _measured(measured: Sequence[Measured]) -> str:
    if not measured:
        return ""
    head = ("case", "options", "recipe kept", "class token: cosine, mean", "least", "SQNR", "patches: cosine, mean",
            "of the least image", "cycles", "utilisation", "quantized in", "processor time", "memory")  # fmt: skip
    body = [
        (
            m.case, m.options or "none", m.recipe, f"{m.fidelity.mean:.4f}", f"{m.fidelity.least:.4f}",
            f"{m.fidelity.sqnr:.1f} dB", f"{m.fidelity.patches:.4f}", f"{m.fidelity.least_patch:.4f}", f"{m.cycles:,}",
            f"{m.utilisation:.4f}", f"{m.seconds:.0f} s", f"{m.cpu:.0f} s", f"{m.peak / _GIB:.1f} GiB",
        )
        for m in measured
    ]  # fmt: skip
    worst = [f"{m.case}: " + ", ".join(f"{name} {cosine:.4f}" for name, cosine in m.fidelity.worst()) for m in measured]
    return f"{page.table(head, body)}\n\nThe cuts with the least cosines of the class token: {'; '.join(worst)}."


def _digits_table(digits: Sequence[Digits]) -> str:
    head = ("digits", "SQNR, test images", "accuracy, integers", "accuracy, simulated RTL", "accuracy, float")
    body = [
        (
            f"all tried, {d.recipe} kept" if d.kept else d.recipe, f"{d.sqnr:.1f} dB", f"{d.accuracy:.2%}",
            "" if d.rtl is None else f"{d.rtl:.2%}, {'bit-exact' if d.bit_exact else 'NOT bit-exact'}",
            f"{d.float_accuracy:.2%}",
        )
        for d in digits
    ]  # fmt: skip
    return page.table(head, body)


def _random_table(random: Sequence[Random]) -> str:
    recipes = list(dict.fromkeys(name for r in random for name in r.trials))
    head = ("random weights", "images", *(f"`{name}`" for name in recipes), "kept", "on other images")
    body = [
        (
            r.text, str(r.calibrated), *(f"{r.trials[name]:.1f} dB" if name in r.trials else "" for name in recipes),
            f"`{r.recipe}`", f"{r.sqnr:.1f} dB",
        )
        for r in random
    ]  # fmt: skip
    return page.table(head, body)

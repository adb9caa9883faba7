"""The split of the loss for people and programs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from firmware.quantizer.loss import ALONE_IMAGES, SPLIT_IMAGES, Loss, chosen
from firmware.quantizer.measure import Measurement, finite
from firmware.quantizer.plot import draw
from firmware.screen import show

__all__ = ["LossReport"]

_SHOWN = 8  # quantizers that cost most


@dataclass(frozen=True, kw_only=True)
class LossReport:
    """What the parts of a quantization cost, and what each quantizer of an activation costs alone, where asked for."""

    measure: Measurement
    parts: Sequence[Loss]  # as `split` gives them
    noise: Mapping[str, float]  # as `sensitivities` gives it; empty where that was not asked for

    @property
    def alone(self) -> dict[str, float]:
        """SQNR of the outputs in dB by the one quantizer that is there."""
        return {name: -10 * math.log10(power) if power else math.inf for name, power in self.noise.items()}

    def report(self) -> dict[str, Any]:
        """For JSON; an SQNR without any noise is null."""
        parts = {
            part.name: {**finite({"sqnr": part.sqnr}), "cosine": part.cosine, "worst": finite(dict(part.worst))}
            for part in self.parts
        }
        found: dict[str, Any] = {"split": {"images": len(chosen(self.measure, SPLIT_IMAGES)), "parts": parts}}
        if self.noise:
            found["alone"] = {"images": len(chosen(self.measure, ALONE_IMAGES)), "sqnr": finite(self.alone)}
        return found

    def show(self, console: Console) -> None:
        """A table of the parts, and one of the quantizers that cost most."""
        images = len(chosen(self.measure, SPLIT_IMAGES))
        table = Table(title=f"outputs against float if only one part is there, {images} {self.measure.called}")
        table.add_column("part", no_wrap=True)
        for heading in ("SQNR dB", "cosine"):
            table.add_column(heading, justify="right")
        table.add_column("worst tensors, dB by themselves", no_wrap=True)
        for part in self.parts:
            worst = "\n".join(f"{name} {ratio:.1f}" for name, ratio in part.worst)
            table.add_row(part.name, f"{part.sqnr:.1f}", f"{part.cosine:.4f}", worst)
        show(table, console)
        if not self.noise:
            return
        rows = {row.name: row for row in self.measure.rows}
        table = Table(title="what costs most: outputs if only that quantizer is there")
        table.add_column("quantizer", no_wrap=True)
        for heading in ("bits", "outputs dB", "own dB"):
            table.add_column(heading, justify="right")
        for name, ratio in sorted(self.alone.items(), key=lambda item: item[1])[:_SHOWN]:
            table.add_row(name, str(rows[name].bits), f"{ratio:.1f}", f"{rows[name].own_sqnr:.1f}")
        show(table, console)

    def plot(self) -> Any:
        """A matplotlib Figure of all this."""
        return draw(self.measure, self.parts, self.alone)

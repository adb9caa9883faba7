"""What quantization costs, quantizer by quantizer and end to end, against the float network on the same images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from firmware.families import Family
from firmware.quantizer.record import Code, Record
from firmware.quantizer.reference import Reference
from firmware.screen import show
from hw.spec.operators import OPERATORS, Node

__all__ = ["Measurement", "Row", "cosine", "cosines", "finite", "nearness", "sqnr"]

Array = NDArray[Any]


def sqnr(expected: Array, found: Array) -> float:
    """Signal to noise in dB: 10 log10 of the sum of squares of `expected` over that of the difference."""
    signal = float(np.square(expected, dtype=np.float64).sum())
    noise = float(np.square(np.subtract(expected, found, dtype=np.float64)).sum())
    if noise == 0:
        return float("inf")
    return float(10 * np.log10(signal / noise)) if signal else float("-inf")


def cosines(expected: Array, found: Array) -> Array:
    """Of rows, along the last axis."""
    norms = np.linalg.norm(expected, axis=-1) * np.linalg.norm(found, axis=-1)
    ratios: Array = (expected * found).sum(-1) / np.maximum(norms, 1e-30)
    return ratios


def cosine(expected: Array, found: Array) -> float:
    """Of rows [n, width], on average."""
    return float(cosines(expected, found).mean())


def nearness(expected: Array, found: Array, *, features: bool) -> dict[str, float]:
    """Of the outputs `found` [images, width], or features, to the float network's: what a report says of them."""
    return {
        "images": len(found),
        **({} if features else {"same_class": float((expected.argmax(1) == found.argmax(1)).mean())}),
        "logit_sqnr": sqnr(expected, found),
        "logit_cosine": cosine(expected, found),
    }


@dataclass(frozen=True, kw_only=True)
class Row:
    """One quantizer. Shares are of elements, SQNRs in dB."""

    name: str
    kind: str  # "activation", or "weight"
    bits: int
    scale: float  # the largest, where channels or heads have their own
    largest: float  # magnitude of the float values
    saturated: float  # share that the clamp changed
    own_sqnr: float  # what comes out against what went in: this quantizer alone
    sqnr: float  # integers times scale against the float network: everything up to here


def finite(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """For JSON, which has no infinity: null."""
    return {key: None if value in {np.inf, -np.inf} else value for key, value in numbers.items()}


class Measurement:
    """Filled by a quantization it is given to."""

    def __init__(self, progress: Callable[[str], object] = lambda _: None) -> None:
        """`progress` is called with the name of every node that was computed."""
        self.progress = progress
        self.rows: list[Row] = []
        self.end: dict[str, float] = {}
        self._reference: Reference | None = None
        self._record: Record | None = None
        self._logits: Array | None = None
        self._pending: tuple[Array, Code] | None = None

    def start(self, weights: Mapping[str, Array], images: Array, family: Family) -> None:
        """The float network to compare with."""
        self._reference = Reference(weights, images, family)
        self._record = Record(weights, images, family)

    @property
    def record(self) -> Record:
        """What is decided, node by node; who decides tells it of weights and of the scales of laws."""
        assert self._record is not None
        return self._record

    @property
    def called(self) -> str:
        """What people call the inputs of the network."""
        return "texts" if self.record.family.text else "images"

    def quantizer(self, real: Array, scale: Array, bits: int, centre: float | Array) -> None:
        """The next node quantizes `real`, the true values of its integer inputs; `centre` is the value of code 0."""
        self._pending = (real, Code(scale=scale, bits=bits, centre=centre))

    def weight(self, name: str, weight: Array, integers: Array, scale: Array) -> None:
        found = integers * scale[:, None].astype(np.float64)
        ratio = sqnr(weight, found)
        self.rows.append(
            Row(name=name, kind="weight", bits=8, scale=float(scale.max()), largest=float(np.abs(weight).max()),
                saturated=0.0, own_sqnr=ratio, sqnr=ratio)
        )  # fmt: skip

    def node(self, node: Node, tensors: Mapping[str, Array], value: Array) -> None:
        """`node` gave the integers `value`."""
        assert self._reference is not None
        expected = self._reference.step(node, tensors)
        pending, self._pending = self._pending, None
        self.record.node(node, tensors, pending and pending[1])
        self.progress(node.name)
        if pending is None or not OPERATORS[node.op].quantizes:
            return
        real, code = pending
        found, steps = code.real(value), code.steps(real)
        assert code.bits is not None
        self.rows.append(
            Row(name=node.name, kind="activation", bits=code.bits, scale=float(np.max(code.scale)),
                largest=float(np.abs(expected).max()),
                saturated=float(np.mean(steps != code.clamped(steps))),
                own_sqnr=sqnr(real, found), sqnr=sqnr(expected, found))
        )  # fmt: skip

    @property
    def expected(self) -> Array:
        """What the float network computed last: in the end its logits [n, classes]."""
        assert self._reference is not None
        return next(reversed(self._reference.values.values())).astype(np.float64)

    @property
    def logits(self) -> Array:
        """What the integer model computed last, in real units [n, classes]."""
        assert self._logits is not None
        return self._logits

    def finish(self, logits: Array, *, features: bool = False) -> None:
        """`logits` are the integer model's, in real units [n, classes], or its features."""
        self._logits = logits
        self.end = nearness(self.expected, logits, features=features)

    def report(self) -> dict[str, Any]:
        """For JSON; an SQNR without any noise is null."""
        return {"quantizers": [finite(asdict(row)) for row in self.rows], "end_to_end": finite(self.end)}

    def show(self, console: Console) -> None:
        """A table of the activations, and the end."""
        table = Table(title="activations: SQNR of each quantizer alone (own) and against the float network")
        table.add_column("quantizer", no_wrap=True, min_width=28)
        for heading in ("bits", "scale", "largest", "clamped", "own dB", "dB"):
            table.add_column(heading, justify="right")
        for row in self.rows:
            if row.kind == "activation":
                table.add_row(
                    row.name, str(row.bits), f"{row.scale:.3g}", f"{row.largest:.3g}", f"{row.saturated:.3%}",
                    f"{row.own_sqnr:.1f}", f"{row.sqnr:.1f}",
                )  # fmt: skip
        show(table, console)
        end = self.end
        console.print(
            f"{end['images']} calibration {self.called}: "
            + (f"same class as in float {end['same_class']:.1%}, logits'" if "same_class" in end else "features'")
            + f" SQNR {end['logit_sqnr']:.1f} dB, cosine {end['logit_cosine']:.4f}"
        )

"""Where quantization loses: its parts, and each of its quantizers, alone in the float network."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware.quantizer.lossy import KINDS, Effects, LossyNetwork
from firmware.quantizer.measure import Measurement, cosine, sqnr
from hw.spec.operators import Node

__all__ = ["ALONE_IMAGES", "SPLIT_IMAGES", "Loss", "chosen", "sensitivities", "split", "spread"]

Array = NDArray[Any]
Progress = Callable[[int, int, str], object]

SPLIT_IMAGES, ALONE_IMAGES = 8, 4
"""Calibration images that are enough for a split, and for each quantizer alone."""

_WORST = 3  # tensors that a row of the split names


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What a part of the quantization costs at the network's outputs, against float."""

    name: str
    sqnr: float  # dB
    cosine: float  # of an image's outputs, on average
    worst: tuple[tuple[str, float], ...] = ()  # its tensors of the lowest SQNR by themselves, in dB, the lowest first


def spread(count: int, most: int) -> Array:
    """Indices of at most `most` of `count` images, evenly spread."""
    return np.linspace(0, count - 1, min(most, count)).astype(np.int64)


def chosen(measure: Measurement, most: int) -> Array:
    """Indices of at most `most` calibration images."""
    return spread(len(measure.record.images), most)


def split(
    measure: Measurement, *, images: int = SPLIT_IMAGES, progress: Progress = lambda _done, _total, _note: None
) -> list[Loss]:
    """What weights, operators, each kind of them, and activations cost alone, and what everything does.

    Everything is the integer model's own end. At most so many `images` of the calibration are used. `progress` is
    called with nodes done, their number and what is computed.
    """
    record, use = measure.record, chosen(measure, images)
    network = LossyNetwork(record, record.images[use])
    kinds = {kind: nodes for kind in KINDS if (nodes := network.operators(kind))}
    operators = frozenset[str]().union(*kinds.values())
    parts = {
        "float": Effects(),
        "weights": Effects(parameters=frozenset(record.parameters)),
        "operators": Effects(operators=operators),
        **{kind: Effects(operators=nodes) for kind, nodes in kinds.items()},
        "activations": Effects(quantizers=frozenset(record.quantizers)),
    }
    done, total = 0, len(parts) * len(record.nodes)
    ends: dict[str, Array] = {}
    for name, effects in parts.items():

        def told(node: Node, name: str = name) -> None:
            nonlocal done
            done += 1
            progress(done, total, f"{name} at {node.name}")

        ends[name] = network.run(effects, told=told)
    expected = ends.pop("float")
    ends["everything"] = measure.logits[use]
    own = {
        "weights": {row.name: row.own_sqnr for row in measure.rows if row.kind == "weight"},
        "activations": {row.name: row.own_sqnr for row in measure.rows if row.kind == "activation"},
        "operators": network.own,
        **{kind: {name: network.own[name] for name in nodes} for kind, nodes in kinds.items()},
    }
    return [
        Loss(name=name, sqnr=sqnr(expected, end), cosine=cosine(expected, end), worst=_worst(own.get(name, {})))
        for name, end in ends.items()
    ]


def _worst(ratios: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    return tuple(sorted(ratios.items(), key=lambda item: item[1])[:_WORST])


def sensitivities(
    measure: Measurement, names: Collection[str] | None = None, *, images: int = ALONE_IMAGES,
    progress: Progress = lambda _done, _total, _note: None,
) -> dict[str, float]:  # fmt: skip
    """Noise power at the outputs if only one activation quantizer is there, of each of `names` or of all.

    That is the sum of squares of what changes in the outputs over that of the float outputs, on at most so many
    `images` of the calibration. Names are those of `Record.quantizers`, in whose order they come; raises KeyError for
    another. The float network is walked once; at each quantizer a copy of what is still read goes on to the end, so N
    quantizers cost about N / 2 networks. `progress` is called with quantizers done, their number and the latest.
    """
    record = measure.record
    wanted = set(record.quantizers if names is None else names)
    for name in sorted(wanted - set(record.quantizers)):
        raise KeyError(f"{name} is no quantizer of an activation")
    network = LossyNetwork(record, record.images[chosen(measure, images)])
    values: dict[str, Array] = {}
    ends: dict[str, Array] = {}
    for index, node in enumerate(record.nodes):
        inputs = network.step(index, values, Effects())
        if node.name in wanted:
            fork = values | {node.name: network.quantized(node, inputs, values[node.name])}
            ends[node.name] = network.run(Effects(), values=fork, first=index + 1)
            progress(len(ends), len(wanted), node.name)
    expected = values[record.nodes[-1].name].astype(np.float64)
    return {name: 10 ** (-sqnr(expected, end) / 10) for name, end in ends.items()}

"""Where inputs of 16 bits help most for what they cost: a second pass of the array over the linear that reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from rich.console import Console

from hw.spec.config import Config
from hw.spec.model import Model
from hw.spec.operators import OPERATORS, Node

__all__ = ["Spending", "Wide", "afforded", "bought", "candidates", "rewritten"]

_ATTEMPTS = 4


@dataclass(frozen=True, kw_only=True)
class Wide:
    """An input that could have 16 bits: its linear, the quantizer that it reads, and the array's cycles for it."""

    linear: str
    quantizer: str
    cycles: int


def candidates(model: Model, names: Iterable[str], config: Config) -> list[Wide]:
    """Of the linears `names`, those whose 8-bit inputs can have 16: their sums stay in 32 bits then."""
    nodes = {node.name: node for node in model.nodes}
    found = []
    for name in names:
        quantizer = _quantizer(nodes, nodes[name])
        if quantizer.attributes.get("bits") == 8 and _fits(model, nodes[name]):
            cycles = -(-model.layer_macs[name] // config.macs_per_cycle)
            found.append(Wide(linear=name, quantizer=quantizer.name, cycles=cycles))
    return found


def _quantizer(nodes: Mapping[str, Node], linear: Node) -> Node:
    """What `linear` reads, behind what only moves it."""
    node = nodes[linear.inputs[0]]
    while OPERATORS[node.op].moves:
        node = nodes[node.inputs[0]]
    return node


def _fits(model: Model, linear: Node) -> bool:
    """2^15 times the row sums of |weight|, and the bias at a scale 256 times finer, are below 2^31."""
    weight, bias = (np.abs(model.tensor(linear, part).astype(np.int64)) for part in ("weight", "bias"))
    return bool(np.all((weight.sum(axis=1) << 15) + (bias << 8) < 1 << 31))


def bought(found: Iterable[Wide], noise: Mapping[str, float], cycles: float) -> list[Wide]:
    """Of `found`, what takes most noise away for its cycles, for at most `cycles` in all, the best first.

    `noise` is what each quantizer alone adds to the network's outputs, as power; 8 bits more leave 2^-16 of it.
    """
    spent, taken = 0, []
    for wide in sorted(found, key=lambda wide: -noise[wide.quantizer] / wide.cycles):
        if spent + wide.cycles <= cycles:
            spent += wide.cycles
            taken.append(wide)
    return taken


def rewritten(model: Model, wide: Iterable[Wide]) -> Model:
    """`model` with 16 bits from those quantizers: what it costs can be asked, what it computes makes no sense yet."""
    names = {each.quantizer for each in wide}
    return replace(
        model,
        nodes=tuple(
            replace(node, attributes={**node.attributes, "bits": 16}) if node.name in names else node
            for node in model.nodes
        ),
    )


@dataclass(frozen=True, kw_only=True)
class Spending:
    """What was made of a budget: the inputs that got 16 bits, and cycles of the whole program without and with them."""

    budget: float
    bought: Sequence[Wide] = ()  # the best first
    before: int = 0
    after: int = 0
    noise: Mapping[str, float]  # of every quantizer that could have had them, alone at the outputs, as power

    @property
    def ratio(self) -> float:
        """Cycles with 16-bit inputs over those without."""
        return self.after / self.before if self.before else 1.0

    def report(self, board: str) -> dict[str, Any]:
        """For JSON."""
        return {
            "board": board, "allowed": self.budget, "cycles": self.after, "cycles_all_8_bit": self.before,
            "wide": [
                {"linear": each.linear, "quantizer": each.quantizer, "cycles": each.cycles,
                 "noise": self.noise[each.quantizer]}
                for each in self.bought
            ],
        }  # fmt: skip

    def show(self, board: str, console: Console) -> None:
        """A line for each kind of linear, and the sum."""
        kinds: dict[str, list[Wide]] = {}
        for each in self.bought:
            kinds.setdefault(_kind(each), []).append(each)
        total = sum(self.noise.values()) or 1.0
        for kind, wides in kinds.items():
            won = sum(self.noise[each.quantizer] for each in wides) / total
            console.print(
                f"16-bit inputs of {len(wides)} {kind}: {sum(each.cycles for each in wides):,} cycles, {won:.0%} of "
                "the noise that 8 bits at inputs make",
                highlight=False,
                soft_wrap=True,
            )
        console.print(
            f"{self.after:,} cycles on {board}, {self.ratio:.3f} times those of 8-bit inputs (the scheduler's estimate)"
            if self.bought
            else f"no input has 16 bits: none is worth it within {self.budget:g} times the cycles on {board}",
            highlight=False,
            soft_wrap=True,
        )


def afforded(
    found: Sequence[Wide], noise: Mapping[str, float], cycles: Callable[[Sequence[Wide]], int | None], budget: float
) -> Spending:
    """What of `found` to widen within `budget` times the cycles of none.

    `cycles` are those of a whole program in which the given inputs have 16 bits; None if there is no such program.
    A second pass is not all that an input may cost: a buffer twice as large may leave room for fewer tokens. So what is
    bought is measured; if it is too dear, each kind of linear (the last part of its name) by itself, and those kinds
    are bought that take most noise away when each has its own price.
    """
    base = cycles(())
    if base is None:
        return Spending(budget=budget, noise=noise)
    room, most = (budget - 1) * base, budget * base
    prices = dict.fromkeys({_kind(each) for each in found}, 0)
    for attempt in range(_ATTEMPTS):
        chosen = _bought_by_kind(found, noise, room, prices)
        if not chosen:
            break
        now = cycles(chosen)
        if now is not None and now <= most:
            return Spending(budget=budget, bought=chosen, before=base, after=now, noise=noise)
        if not attempt:
            prices = _prices(found, noise, cycles, base)
        elif now is not None:
            room *= (most - base) / (now - base)
        else:
            break
    return Spending(budget=budget, before=base, after=base, noise=noise)


def _bought_by_kind(
    found: Sequence[Wide], noise: Mapping[str, float], room: float, prices: Mapping[str, int]
) -> list[Wide]:
    """Of the kinds with `prices`, those that together take most noise away, each paid once."""
    ways = (kinds for count in range(len(prices) + 1) for kinds in combinations(sorted(prices), count))
    offers = (
        bought([each for each in found if _kind(each) in kinds], noise, room - sum(prices[kind] for kind in kinds))
        for kinds in ways
    )
    return max(offers, key=lambda offer: sum(noise[each.quantizer] for each in offer))


def _prices(
    found: Sequence[Wide], noise: Mapping[str, float], cycles: Callable[[Sequence[Wide]], int | None], base: int
) -> dict[str, int]:
    """What the first input of each kind costs beyond its second pass; kinds without a program are left out."""
    prices = {}
    for kind in sorted({_kind(each) for each in found}):
        first = max((each for each in found if _kind(each) == kind), key=lambda each: noise[each.quantizer])
        now = cycles([first])
        if now is not None:
            prices[kind] = max(0, now - base - first.cycles)
    return prices


def _kind(wide: Wide) -> str:
    return wide.linear.rpartition(".")[2]

"""The ablation's tables and plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench import page
from bench.ablation_figures import SHOWN, Cycles, Outputs, Reference, Simulated
from bench.ablation_networks import TITLES, laws
from bench.ablation_units import OPERATORS, Gates, Operator, UnitFigures
from bench.machine import machines
from firmware.plots import COLOURS, figure
from hw.boards.registry import BOARDS

__all__ = ["Found", "asic_table", "markdown", "operators", "plot"]


@dataclass(frozen=True)
class Found:
    """Everything that tables show."""

    units: Mapping[str, UnitFigures]  # by opcode
    gates: Sequence[Gates]
    outputs: Sequence[Outputs]
    cycles: Sequence[Cycles]
    references: Sequence[Reference]
    simulated: Sequence[Simulated]


def operators(mixture: str) -> list[Operator]:
    """Of softmax, GELU and norm the one that the mixture has."""
    found = laws(mixture)
    return [next(each for each in OPERATORS if each.kind == kind and each.law == law) for kind, law in found.items()]


def _opcodes(mixture: str) -> list[str]:
    return list(dict.fromkeys(name for operator in operators(mixture) for name in operator.opcodes))


def _luts(mixture: str, units: Mapping[str, UnitFigures]) -> float:
    return sum(units[name].used["series7"]["lut"] for name in _opcodes(mixture))


def _by_process(found: Sequence[Gates]) -> dict[str, dict[str, Gates]]:
    """Process -> opcode -> gates."""
    return {name: {one.opcode: one for one in found if one.process == name} for name in _names(found)}


def _names(found: Sequence[Gates]) -> list[str]:
    return list(dict.fromkeys(one.process for one in found))


def _delay(found: Sequence[Gates]) -> str:
    """The longest, if there are any."""
    delays = [one.delay for one in found if one.delay is not None]
    return f"{max(delays):.1f}" if delays else ""


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


def asic_table(found: Sequence[Gates]) -> str:
    """Each unit in the cells of each process."""
    processes = _by_process(found)
    head = ("unit", "bytes in macros", *(column for name in processes for column in (f"kGE, {name}", "ns")))
    body = []
    for opcode in dict.fromkeys(one.opcode for one in found):
        mine = [one.get(opcode) for one in processes.values()]
        memory = max(one.memory for one in mine if one)
        cells = (text for one in mine for text in ((f"{one.kge:.1f}", _delay([one])) if one else ("", "")))
        body.append((f"`{opcode}`", f"{memory:,}" if memory else "", *cells))
    return page.table(head, body)


_RESOURCES = (("series7", "lut"), ("series7", "ff"), ("series7", "dsp"), ("ecp5", "lut"), ("ecp5", "dsp"))


def _operator_table(units: Mapping[str, UnitFigures], found: Sequence[Gates]) -> str:
    processes = dict(list(_by_process(found).items())[:2])  # of as many as a page is wide
    head = ("operator", "of", "passes", "cycles per element", "LUT", "FF", "DSP48E1", "LUT4 (ECP5)", "MULT18X18D",
            *(column for name in processes for column in (f"kGE, {name}", "ns")))  # fmt: skip
    body = []
    for operator in OPERATORS:
        own = [units[name] for name in operator.opcodes]
        cycles = sum(1 / unit.elements for unit in own)
        totals = (sum(unit.used[family][name] for unit in own) for family, name in _RESOURCES)
        cells = []
        for process in processes.values():
            mine = [process[name] for name in operator.opcodes if name in process]
            whole = len(mine) == len(operator.opcodes)
            cells += [f"{sum(one.kge for one in mine):.1f}", _delay(mine)] if whole else ["", ""]
        numbers = (str(len(own)), f"{cycles:g}", *(f"{total:g}" for total in totals))
        body.append((operator.name, operator.of, *numbers, *cells))
    return page.table(head, body)


def _network_table(found: Found, network: str) -> str:
    outputs = {each.mixture: each for each in found.outputs if each.network == network}
    mine = [each for each in found.cycles if each.network == network]
    floats = [each for each in found.references if each.network == network]
    accurate = any(each.accuracy is not None for each in outputs.values())
    rates = (f"images/s, `{name}`, {BOARDS[name].clock_hz / 1e6:g} MHz" for name in SHOWN)
    head = ("operators", "cycles per image", "to I-ViT", *rates, "VECTOR moves data", "cosine, mean", "least", "SQNR",
            *(("accuracy",) if accurate else ()), "LUT of the units")  # fmt: skip
    body = []
    for each in mine:
        out, count = outputs[each.mixture], each.boards[SHOWN[0]]
        own = mine[0].boards[SHOWN[0]]
        body.append((
            each.mixture, f"{count:,}", f"{count / own - 1:+.1%}",
            *(f"{BOARDS[name].clock_hz / each.boards[name]:.2f}" for name in SHOWN), f"{each.vector:.0%}",
            f"{out.cosine:.4f}", f"{out.least:.4f}", f"{out.sqnr:.1f} dB", *_accuracy(out.accuracy, accurate),
            f"{_luts(each.mixture, found.units):g}",
        ))  # fmt: skip
    for one in floats:
        took = "not installed" if one.seconds is None else f"{1e3 * one.seconds:,.1f} ms per image"
        cosine = "" if one.cosine is None else f"{one.cosine:.4f}"
        empty = [""] * (3 + len(SHOWN))
        body.append((f"float32 on the host ({one.tool}): {took}", *empty, cosine, "", "",
                     *_accuracy(one.accuracy, accurate), ""))  # fmt: skip
    return page.table(head, body)


def _accuracy(value: float | None, shown: bool) -> tuple[str, ...]:
    return ("" if value is None else f"{value:.2%}",) if shown else ()


def _simulated_table(found: Sequence[Simulated]) -> str:
    head = ("network", "operators", "cycles, simulated", "cycle model", "outputs", "this host took")
    body = [
        (
            each.network, each.mixture, f"{each.cycles:,}", f"{each.predicted / each.cycles - 1:+.2%}",
            "bit-exact" if each.bit_exact else "WRONG", f"{each.seconds:.0f} s",
        )
        for each in found
    ]  # fmt: skip
    return page.table(head, body)


def markdown(found: Found) -> str:
    parts = [_operator_table(found.units, found.gates), _unit_table(list(found.units.values()))]
    for network in dict.fromkeys(each.network for each in found.cycles):
        parts.append(f"**{TITLES[network]}**\n\n{_network_table(found, network)}")
    if found.simulated:
        parts.append(
            f"**Whole images on the simulated gateware of `{SHOWN[0]}`**\n\n{_simulated_table(found.simulated)}"
        )
    if hosts := machines(each.machine for each in found.references):
        parts.append(f"float32: one thread, one image at a time, the best of some rounds, on {hosts}.")
    return "\n\n".join(parts)


def plot(found: Found) -> Any:
    """1 - cosine of the outputs against the LUTs of the units, and against cycles; a mark for each mixture."""
    names = list(dict.fromkeys(each.network for each in found.cycles))
    loss = {(each.network, each.mixture): 1 - each.cosine for each in found.outputs}

    def paint(made: Any) -> None:
        panels = made.subplots(len(names), 2, squeeze=False)
        for network, (area, time) in zip(names, panels, strict=True):
            mine = [each for each in found.cycles if each.network == network]
            for number, each in enumerate(mine):
                y, colour = loss[network, each.mixture], COLOURS[number % len(COLOURS)]
                mark = "os^Dv*"[number // len(COLOURS)]
                for axes, x in ((area, _luts(each.mixture, found.units)), (time, each.boards[SHOWN[0]] / 1e6)):
                    axes.plot([x], [y], mark, color=colour, label=each.mixture)
            area.set_title(f"{network}: loss against area")
            area.set_xlabel("LUTs of softmax, GELU and norm, 7-series, synthesised")
            time.set_title(f"{network}: loss against cycles")
            time.set_xlabel("million cycles per image, predicted")
            for axes in (area, time):
                axes.set_yscale("log")
                axes.grid()
            area.set_ylabel("1 - cosine of the outputs")
        panels[0][1].legend(fontsize=7)

    return figure(10, 3 * len(names), paint)

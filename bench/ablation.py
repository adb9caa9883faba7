"""I-ViT's operators and their rivals: what each takes of the silicon, and what it does to networks, one at a time."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from bench import networks, page
from bench.ablation_figures import (
    SHOWN,
    Cycles,
    Outputs,
    Reference,
    Simulated,
    cycles,
    outputs,
    references,
    simulated,
)  # fmt: skip
from bench.ablation_networks import MIXTURES, NETWORKS, TITLES, Network, laws
from bench.ablation_units import OPERATORS, Gates, Operator, Process, UnitFigures, gates, passes, unit_figures
from bench.kept import Kept
from firmware.errors import UserError
from firmware.files import writing
from firmware.plots import COLOURS, figure, plot_kind, save_figure
from hw.boards.registry import BOARDS
from hw.build.liberty import read
from hw.spec.isa import Op
from hw.spec.vector import VectorOp, row_of

__all__ = ["register"]

_Task = tuple[Callable[..., Any], tuple[Any, ...]]
_BOARD = BOARDS[SHOWN[0]]
_KINDS = ("outputs", "cycles", "simulated", "float", "gates")
_ASIC = "ablation-asic"  # marks its table's place


@dataclass(frozen=True)
class Found:
    """Everything that tables show."""

    units: Mapping[str, UnitFigures]  # by opcode
    gates: Sequence[Gates]
    outputs: Sequence[Outputs]
    cycles: Sequence[Cycles]
    references: Sequence[Reference]
    simulated: Sequence[Simulated]


# What is found


@dataclass(frozen=True)
class _Wanted:
    """A command line; figures in `folder` are found one after the other, or by `jobs` processes first."""

    folder: Path
    believed: tuple[str, ...]
    cases: tuple[str, ...]
    simulate: tuple[str, ...]  # mixtures
    processes: tuple[tuple[str, ...], ...]  # a name and files each
    jobs: int

    @property
    def kept(self) -> Kept:
        return Kept(self.folder, self.believed)


@cache
def _process(name: str, *files: str) -> Process:
    return Process(name, read([Path(file) for file in files]))


def _rows() -> list[VectorOp]:
    return list(dict.fromkeys(row for operator in OPERATORS for row in passes(operator)))


def _tasks(wanted: _Wanted) -> Iterator[_Task]:
    """Every figure as a function and its arguments, those that take longest first; what is there is not made again."""
    for case in wanted.cases:
        yield from ((_simulated, (wanted, case, mixture)) for mixture in wanted.simulate)
    for find in (_outputs, _cycles):
        yield from ((find, (wanted, case, mixture)) for case in wanted.cases for mixture in MIXTURES)
    for row in _rows():
        yield from ((_gates, (wanted, row.name, process)) for process in wanted.processes)
        yield _unit, (wanted, row.name)


@cache
def _reading(folder: Path, network: str) -> Network:
    """A network is read when it is wanted first."""
    return NETWORKS[network](folder)


def _outputs(wanted: _Wanted, network: str, mixture: str) -> Outputs:
    return outputs(network, mixture, wanted.kept, partial(_reading, wanted.folder, network))


def _cycles(wanted: _Wanted, network: str, mixture: str) -> Cycles:
    return cycles(network, mixture, wanted.kept, partial(_reading, wanted.folder, network))


def _simulated(wanted: _Wanted, network: str, mixture: str) -> Simulated:
    return simulated(network, mixture, wanted.kept, partial(_reading, wanted.folder, network))


def _row(name: str) -> VectorOp:
    row = row_of(getattr(Op, name))
    assert row is not None
    return row


def _gates(wanted: _Wanted, opcode: str, process: tuple[str, ...]) -> Gates:
    networks.say(f"{opcode}: {process[0]} ...")
    period = 1e9 / _BOARD.clock_hz
    return gates(_row(opcode), _BOARD.config, _process(*process), wanted.kept, period=period)


def _unit(wanted: _Wanted, opcode: str) -> UnitFigures:
    networks.say(f"{opcode}: synthesis ...")
    return unit_figures(_row(opcode), _BOARD.config, wanted.folder / "units")


def _do(task: _Task) -> Any:
    function, arguments = task
    return function(*arguments)


def _all(tasks: Sequence[_Task], jobs: int) -> list[Any]:
    """Results, in order."""
    if jobs == 1:
        return [_do(task) for task in tasks]
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        return list(pool.map(_do, tasks))


def _find(wanted: _Wanted) -> Found:
    results = _all(list(_tasks(wanted)), wanted.jobs)

    def of(kind: Any) -> list[Any]:
        return [result for result in results if isinstance(result, kind)]

    timed = [
        one for case in wanted.cases for one in references(case, wanted.kept, partial(_reading, wanted.folder, case))
    ]  # when nothing else runs
    return Found(
        units={unit.opcode: unit for unit in of(UnitFigures)}, gates=of(Gates),
        outputs=of(Outputs), cycles=of(Cycles), references=timed, simulated=of(Simulated),
    )  # fmt: skip


# Tables and plot


def _operators(mixture: str) -> list[Operator]:
    """Of softmax, GELU and norm the one that the mixture has."""
    found = laws(mixture)
    return [next(each for each in OPERATORS if each.kind == kind and each.law == law) for kind, law in found.items()]


def _opcodes(mixture: str) -> list[str]:
    return list(dict.fromkeys(name for operator in _operators(mixture) for name in operator.opcodes))


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


def _asic_table(found: Sequence[Gates]) -> str:
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
    head = ("operators", "cycles per image", "to I-ViT", *(f"images/s, `{name}`" for name in SHOWN),
            "VECTOR moves data", "cosine, mean", "least", "SQNR", *(("accuracy",) if accurate else ()),
            "LUT of the units")  # fmt: skip
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
        took = "not installed" if one.seconds is None else f"{1e3 * one.seconds:.3g} ms per image"
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


def _markdown(found: Found) -> str:
    parts = [_operator_table(found.units, found.gates), _unit_table(list(found.units.values()))]
    for network in dict.fromkeys(each.network for each in found.cycles):
        parts.append(f"**{TITLES[network]}**\n\n{_network_table(found, network)}")
    if found.simulated:
        parts.append(
            f"**Whole images on the simulated gateware of `{SHOWN[0]}`**\n\n{_simulated_table(found.simulated)}"
        )
    if machines := dict.fromkeys(each.machine for each in found.references):
        parts.append(f"float32: one thread, one image at a time, the best of some rounds, on {'; '.join(machines)}.")
    return "\n\n".join(parts)


def _plot(found: Found) -> Any:
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


# The command


def register(commands: Any) -> None:
    """Adds the command's grammar to argparse's sub-parsers."""
    command = page.add_command(commands, "ablation", "I-ViT's operators and rivals: area, cycles, accuracy", _command)
    command.add_argument(
        "--only", nargs="+", choices=tuple(NETWORKS), metavar="CASE", help=f"some of {', '.join(NETWORKS)}"
    )
    command.add_argument(
        "--folder", type=Path, default=Path("build/ablation"),
        help="keeps every finished figure with a digest of the sources that decide it; those that still hold are not "
        "found again (default build/ablation)",
    )  # fmt: skip
    command.add_argument(
        "--kept", nargs="+", default=(), choices=_KINDS, metavar="KIND",
        help=f"those that the folder has of these hold, whatever sources they are of: {', '.join(_KINDS)}",
    )  # fmt: skip
    command.add_argument(
        "--process", nargs="+", action="append", default=[], metavar=("NAME FILE", "FILE"),
        help="a process and its Liberty files: gate equivalents and delays in its cells; for several, several times",
    )  # fmt: skip
    command.add_argument(
        "--simulate", nargs="+", default=(), choices=tuple(MIXTURES), metavar="OPERATORS",
        help="mixtures that run whole on the simulated gateware, too: minutes each",
    )  # fmt: skip
    command.add_argument("--jobs", type=int, default=1, help="processes that find figures (default 1)")
    command.add_argument("--plot", metavar="FILE", help="draw losses against area and cycles, .svg or .png")
    command.add_argument("--asic", metavar="FILE", help="put the table of each unit in each process into FILE")


def _command(arguments: argparse.Namespace) -> int:
    """1 if simulated gateware gave another output than the golden model."""
    drawn = plot_kind(arguments.plot, "--plot") if arguments.plot else ""
    if arguments.asic:
        page.check(arguments.asic, _ASIC)
    if arguments.jobs < 1:
        raise UserError(f"--jobs must be at least 1, not {arguments.jobs}")
    for name, *files in arguments.process:
        if not files:
            raise UserError(f"--process wants a name and Liberty files, and got {name} alone")
        _process(name, *files)  # refused before anything is found
    found = _find(_Wanted(
        arguments.folder, tuple(arguments.kept), tuple(arguments.only or NETWORKS), tuple(arguments.simulate),
        tuple(tuple(process) for process in arguments.process), arguments.jobs,
    ))  # fmt: skip
    if arguments.plot:
        with writing(arguments.plot) as file:
            save_figure(_plot(found), drawn, file)
    content = {
        "units": [asdict(unit) for unit in found.units.values()],
        **{name: [asdict(each) for each in getattr(found, name)]
           for name in ("gates", "outputs", "cycles", "references", "simulated")},
    }  # fmt: skip
    others = {arguments.asic: (_ASIC, _asic_table(found.gates))} if arguments.asic else {}
    page.publish(arguments, _markdown(found), content, others)
    return int(any(not each.bit_exact for each in found.simulated))

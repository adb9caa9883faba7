"""I-ViT's operators and their rivals: what each takes of the silicon, and what it does to networks, one at a time."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
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
    Simulated,
    cycles,
    outputs,
    references,
    simulated,
)  # fmt: skip
from bench.ablation_networks import MIXTURES, NETWORKS, Network
from bench.ablation_tables import Found, asic_table, markdown, plot
from bench.ablation_units import OPERATORS, Gates, Process, UnitFigures, gates, passes, unit_figures
from bench.kept import Kept
from firmware.errors import UserError
from firmware.files import writing
from firmware.plots import plot_kind, save_figure
from hw.boards.registry import BOARDS
from hw.build.liberty import read
from hw.spec.isa import Op
from hw.spec.vector import VectorOp, row_of

__all__ = ["register"]

_Task = tuple[Callable[..., Any], tuple[Any, ...]]
_BOARD = BOARDS[SHOWN[0]]
_PERIOD = 10.0  # ns, that processes are mapped for, as the core's is
_KINDS = ("outputs", "cycles", "simulated", "float", "gates")
_ASIC = "ablation-asic"  # marks its table's place


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
    return gates(_row(opcode), _BOARD.config, _process(*process), wanted.kept, period=_PERIOD)


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
            save_figure(plot(found), drawn, file)
    content = {
        "units": [asdict(unit) for unit in found.units.values()],
        **{name: [asdict(each) for each in getattr(found, name)]
           for name in ("gates", "outputs", "cycles", "references", "simulated")},
    }  # fmt: skip
    others = {arguments.asic: (_ASIC, asic_table(found.gates))} if arguments.asic else {}
    page.publish(arguments, markdown(found), content, others)
    return int(any(not each.bit_exact for each in found.simulated))

"""Command line: python -m bench mutants."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import page
from bench.mutants.equivalent import equivalents
from bench.mutants.operators import Mutant, mutants, sample
from bench.mutants.rings import units
from bench.mutants.store import Store
from bench.mutants.trial import Copy, Verdict
from firmware.errors import UserError
from firmware.evaluate.pools import Local

__all__ = ["register", "summary"]

_ROOT = Path(__file__).parents[2]

_NICE = 19
_TURN = 4  # mutants of a file before the next file's turn: a run that is cut short has been everywhere
_COPIES: list[Copy] = []  # of this process: one in a worker


def register(commands: Any) -> None:
    """Adds the command's grammar to argparse's sub-parsers."""
    command = page.add_command(commands, "mutants", "mutants of the gateware's source against its tests", _command)
    command.add_argument(
        "--units", nargs="+", default=[""], metavar="PREFIX", help="files of hw/, in this order (default: all)"
    )
    command.add_argument("--count", type=int, default=20, metavar="N", help="mutants of each file (default 20)")
    command.add_argument("--seed", type=int, default=0, help="of the choice (default 0)")
    command.add_argument(
        "--ring", choices=("unit", "engine", "core"), default="unit", help="the last tests that survivors get"
    )
    command.add_argument("--known", action="store_true", help="run nothing: only what is known already")
    command.add_argument("--workers", type=int, default=2, metavar="N", help="processes (default 2)")
    command.add_argument(
        "--results", type=Path, default=Path("build/mutants.jsonl"), metavar="FILE", help="verdicts; it goes on there"
    )


def _command(arguments: argparse.Namespace) -> int:
    chosen = _chosen(arguments)
    store = Store(arguments.results, _ROOT, arguments.ring)
    known = [(mutant, store.verdict(mutant)) for mutant in chosen]
    left = [] if arguments.known else [mutant for mutant, verdict in known if verdict is None]
    killers = tuple(verdict.test for _, verdict in known if verdict is not None and verdict.outcome == "killed")
    for number, (mutant, verdict) in enumerate(_judged(left, arguments.ring, killers, arguments.workers), 1):
        store.add(mutant, verdict)
        print(f"{number}/{len(left)} {verdict.outcome} {mutant.name} {verdict.test}", flush=True)
    results = [(mutant, found) for mutant, verdict in known if (found := verdict or store.verdict(mutant))]
    same = equivalents()
    for mutant, verdict in results:
        if verdict.outcome in {"survived", "timeout"} and mutant.change not in same:
            print(f"{verdict.outcome} {mutant.name} in: {mutant.text}")
    sizes = {unit: len(mutants(unit, (_ROOT / unit).read_bytes())) for unit in {mutant.unit for mutant in chosen}}
    text = f"Seed {arguments.seed}.\n\n{summary(results, sizes, Counter(mutant.unit for mutant in chosen))}"
    page.publish(arguments, text, {"mutants": [
        {"mutant": mutant.name, "line": mutant.text, **asdict(verdict), "why": same.get(mutant.change, "")}
        for mutant, verdict in results
    ]})  # fmt: skip
    return 0


def _chosen(arguments: argparse.Namespace) -> list[Mutant]:
    every = units(_ROOT)
    names = dict.fromkeys(unit for prefix in arguments.units for unit in every if unit.startswith(prefix))
    samples = [sample(mutants(unit, (_ROOT / unit).read_bytes()), arguments.count, arguments.seed) for unit in names]
    found = [
        mutant for turn in range(0, arguments.count, _TURN) for chosen in samples
        for mutant in chosen[turn : turn + _TURN]
    ]  # fmt: skip
    if not found:
        raise UserError(f"nothing of hw/ to mutate begins with {' or '.join(arguments.units)}")
    return found


@dataclass(frozen=True)
class _Trial:
    """Mutants up to `ring`, each worker with a copy of the tree under `place`; `killers`: see Copy."""

    ring: str
    place: str
    killers: tuple[str, ...]

    def run(self, mutant: Mutant) -> Verdict:
        """In a worker."""
        if not _COPIES:
            os.nice(_NICE)
            _COPIES.append(Copy(_ROOT, Path(tempfile.mkdtemp(dir=self.place)), killers=self.killers))
        return _COPIES[0].judge(mutant, self.ring)


def _judged(
    left: Sequence[Mutant], ring: str, killers: tuple[str, ...], workers: int
) -> Iterator[tuple[Mutant, Verdict]]:
    """Verdicts as they come, by `workers` processes. The last test of one that is ended may write for a moment yet."""
    with tempfile.TemporaryDirectory(prefix="mutants-", ignore_cleanup_errors=True) as place:
        yield from Local(workers).run(_Trial(ring, place, killers), left)


def summary(results: Sequence[tuple[Mutant, Verdict]], sizes: Mapping[str, int], wanted: Mapping[str, int]) -> str:
    """The table: of each file, how many mutants there are and were to be tried, and what came of those that were.

    Invalid ones make no hardware, and count for nothing. A share is told only where none is left to be tried.
    """
    known = equivalents()
    counts: dict[str, Counter[str]] = {name: Counter() for name in (*sorted(wanted), "all")}
    for mutant, verdict in results:
        same = mutant.change in known and verdict.outcome != "killed"
        for name in (mutant.unit, "all"):
            counts[name]["equivalent" if same else verdict.outcome] += 1
    sizes, wanted = {**sizes, "all": sum(sizes.values())}, {**wanted, "all": sum(wanted.values())}
    body = []
    for name, count in counts.items():
        judged = count.total() - count["invalid"] - count["equivalent"]
        whole = judged and count.total() == wanted[name]
        ends = [str(count[end]) for end in ("killed", "timeout", "survived", "equivalent", "invalid")]
        share = f"{count['killed'] / judged:.1%}" if whole else ""
        body.append([name, str(sizes[name]), str(count.total()), str(wanted[name] - count.total()), *ends, share])
    head = (
        "file", "mutants", "tried", "to be tried", "killed", "timed out", "survived", "equivalent", "invalid",
        "killed of valid",
    )  # fmt: skip
    return page.table(head, body)

"""An exploration from end to end: what was found already is kept, what cannot fit is left out, the rest runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from firmware.evaluate.journal import Journal, content_of, line_of
from firmware.evaluate.pools import Pool
from firmware.explore.front import front
from firmware.explore.job import Job, Outcome, content_key, program_key
from firmware.explore.point import Area, Point
from firmware.explore.space import Settings, configured
from hw.boards.board import Board
from hw.spec.config import Config, ConfigError

__all__ = ["AreaEstimates", "Exploration", "explore"]

_BATCH = 8  # points of a worker at a time, at most


class AreaEstimates(Protocol):
    """What configurations take on a board."""

    def of(self, config: Config) -> tuple[dict[str, float], dict[str, float], tuple[str, ...]]:
        """Resources of the core, and of the whole system; units of the core that are not synthesised but fitted."""


@dataclass(frozen=True)
class Exploration:
    """Points in the order of the combinations."""

    points: tuple[Point, ...]
    kept: int  # configurations whose cycles an earlier run had found
    damaged: int = 0  # lines of an earlier run that were not believed

    @property
    def front(self) -> list[Point]:
        """Cheapest first."""
        return sorted((point for point in self.points if point.fate == "front"), key=lambda point: point.lut)

    @property
    def fates(self) -> Counter[str]:
        """How many of each."""
        return Counter(point.fate for point in self.points)

    def reasons(self, fate: str) -> Counter[str]:
        """Why points have that fate, and how many for each reason."""
        return Counter(point.reason for point in self.points if point.fate == fate)


class _Results:
    """Outcomes by content, on the disk."""

    def __init__(self, path: Path) -> None:
        self._journal, self.damaged = Journal(path, "exploration"), 0
        self._found: dict[str, Outcome] = {}
        *lines, _ = self._journal.read()
        good = []
        for line in lines:
            content = content_of(line, "")
            if content is None:
                self.damaged += 1
                continue
            good.append(line)
            key = content.pop("key")
            self._found[key] = Outcome(**content)
        self._journal.rewrite(good)

    def __contains__(self, key: str) -> bool:
        return key in self._found

    def __getitem__(self, key: str) -> Outcome:
        return self._found[key]

    def add(self, key: str, outcome: Outcome) -> None:
        self._journal.append(line_of({"key": key, **asdict(outcome)}, ""))
        self._found[key] = outcome

    def close(self) -> None:
        self._journal.close()


def explore(
    job: Job,
    board: Board,
    combinations: Sequence[Settings],
    area: AreaEstimates,
    *,
    pool: Pool,
    results: Path,
    progress: Callable[[int, int], None] = lambda _, __: None,
) -> Exploration:
    """What became of every combination of settings on `board`, which is the job's, or has that one's memory.

    Outcomes go to the file `results` as they come; a later call takes from there what it needs, whatever else it looks
    at. `progress` gets the configurations whose cycles are known, and how many they will be.
    Raises UserError, and what opening the model does.
    """
    points = [_point(board, settings, area) for settings in combinations]
    store = _Results(results)
    try:
        keys = {n: content_key(job, p.board) for n, p in enumerate(points) if p.board and p.fate == "fits"}
        wanted = dict(zip(keys.values(), keys, strict=True))  # content -> one of the points that have it
        missing = [number for key, number in wanted.items() if key not in store]
        kept = done = len(wanted) - len(missing)
        progress(done, len(wanted))
        by_settings = {points[number].settings: number for number in missing}
        for batch, outcomes in pool.run(job, _batches([points[number] for number in missing])):
            for settings, outcome in zip(batch, outcomes, strict=True):
                store.add(keys[by_settings[settings]], outcome)
            done += len(batch)
            progress(done, len(wanted))
        for number, key in keys.items():
            points[number] = _answered(points[number], store[key])
        return Exploration(tuple(_ranked(points)), kept, store.damaged)
    finally:
        store.close()


def _point(board: Board, settings: Settings, area: AreaEstimates) -> Point:
    try:
        found = configured(board, settings)
    except ConfigError as error:
        return Point(settings=settings, fate="impossible", reason=str(error), columns=tuple(board.fabric.columns))
    core, system, fitted = area.of(found.config)
    over = [board.fabric.columns[name] for name, most in board.capacity.items() if system[name] > most]
    return Point(
        settings=settings, fate="too large" if over else "fits", board=found, area=Area(core, system, fitted),
        reason=f"more {' and '.join(over)} than the part has" if over else "", columns=tuple(board.fabric.columns),
    )  # fmt: skip


def _batches(points: Sequence[Point]) -> list[tuple[Settings, ...]]:
    """Points whose programs are alike together; few of those, so that little is lost and all workers have some."""
    alike: dict[Any, list[Settings]] = {}
    for point in points:
        assert point.board is not None
        alike.setdefault(program_key(point.board), []).append(point.settings)
    return [tuple(group[at : at + _BATCH]) for group in alike.values() for at in range(0, len(group), _BATCH)]


def _answered(point: Point, outcome: Outcome) -> Point:
    if outcome.refused:
        return replace(point, fate="no program", reason=outcome.refused)
    return replace(point, cycles=outcome.cycles, macs=outcome.macs)


def _ranked(points: Sequence[Point]) -> list[Point]:
    """The points, those on the front told from others that fit: images per second against LUTs."""
    fit = [point for point in points if point.fate == "fits"]
    best = {point.settings for point in front(fit, lambda point: point.images_per_second, lambda point: point.lut)}
    return [replace(point, fate="front") if point.settings in best else point for point in points]

"""A process for some cases: python -m bench.trust.blocks CAMPAIGN FIRST COUNT, which tells a line of JSON about each.

Its end, whatever it is, ends nothing else; its memory is limited, and who started it limits its time.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.trust.campaign import Campaign, Unexplained

__all__ = ["Block", "end_blocks", "main", "run_block"]

_ROOT = Path(__file__).parents[2]
_PROCESSOR = 600  # seconds of a processor that a block may take, which is made to take about ten
_PATIENCE = 20 * _PROCESSOR  # seconds: others may want the processor, too
_RUNNING: set[subprocess.Popen[str]] = set()


@dataclass(frozen=True)
class Block:
    """What cases `first` to `first` + `cases` came to. A failure has its ``seed`` and ``what`` happened."""

    campaign: str
    first: int
    cases: int
    counts: dict[str, int] = field(default_factory=dict)
    failures: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    peak: int = 0  # bytes of memory that the process had at most
    sources: str = ""  # digest of the sources it ran on


def run_block(campaign: type[Campaign], first: int, cases: int, sources: str, patience: float = _PATIENCE) -> Block:
    """In a process of its own. One that crashes or takes longer than `patience` seconds is a failure of its case."""
    command = [sys.executable, "-m", "bench.trust.blocks", campaign.name, str(first), str(cases)]
    begun, seed, counts, failures, peak = time.monotonic(), first, {}, [], 0
    whole = False
    process = subprocess.Popen(
        command, cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    _RUNNING.add(process)
    try:
        output, errors = process.communicate(timeout=patience)
        end = f"ended with status {process.returncode}: {errors.strip()[-500:]}"
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
        end = f"did not end within {patience:.0f} s"
    except BaseException:
        process.kill()
        raise
    finally:
        _RUNNING.discard(process)
    for line in output.splitlines():
        told = json.loads(line) if line.startswith("{") and line.endswith("}") else {}
        seed = told.get("seed", seed)
        if "what" in told:
            failures.append(told)
        if "counts" in told:
            counts, peak, whole = told["counts"], told["peak"], process.returncode == 0
    if not whole:
        failures.append({"seed": seed, "what": f"the process {end}"})
    seconds = time.monotonic() - begun
    return Block(campaign.name, first, cases, counts, failures, round(seconds, 1), peak, sources)


def end_blocks() -> None:
    """Ends the processes of all blocks that run, in whatever thread."""
    for process in tuple(_RUNNING):
        process.kill()


def _tell(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def cases(campaign: Campaign, seeds: Iterable[int]) -> int:
    """Runs them, telling what happens; how many failed."""
    failed = 0
    for seed in seeds:
        _tell(seed=seed)
        try:
            campaign.case(seed)
        except Unexplained as error:
            what = str(error)
        except Exception:
            what = traceback.format_exc(limit=-4)
        else:
            continue
        failed += 1
        _tell(seed=seed, what=what)
    campaign.close()
    _tell(counts=campaign.counts, peak=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10)
    return failed


def main(arguments: list[str]) -> int:
    """The process."""
    from bench.trust.campaigns import CAMPAIGNS  # each of which imports what it needs

    name, first, count = arguments
    kind = CAMPAIGNS[name]
    resource.setrlimit(resource.RLIMIT_CPU, (_PROCESSOR, _PROCESSOR))
    if kind.memory:
        resource.setrlimit(resource.RLIMIT_DATA, (kind.memory, kind.memory))
    cases(kind(), range(int(first), int(first) + int(count)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
